"""What FlopCounterMode counts for the operators: two operations a connection, as dense is counted.

Its module takes longer to import than this library, so that the formulas are registered only
where a program has imported it. A counter copies its formulas when it is made: one that is counting
already gets them too.
"""

from __future__ import annotations

import sys
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

_MODULE = "torch.utils.flop_counter"


def register() -> None:
    """Have the products counted by the counters that count now, and those made later."""
    module: Any = sys.modules.get(_MODULE)
    if module is None:
        return
    known = module.flop_registry
    operators = torch.ops.sparsebench
    for name, formula in _FORMULAS.items():
        if hasattr(operators, name) and getattr(operators, name) not in known:
            module.register_flop_formula(getattr(operators, name))(formula)
    for mode in _get_current_dispatch_mode_stack():
        registry = getattr(getattr(mode, "counter", None), "flop_registry", None)
        if registry is not None:
            for name in _FORMULAS:
                operator = getattr(operators, name, None)
                if operator is not None:
                    registry.setdefault(operator, known[operator])


def _linear(
    x: torch.Size, values: torch.Size, *others: Any, out_shape: Any = None, **_: Any
) -> int:
    return 2 * x[0] * values[0]


def _linear_grad_values(dy: torch.Size, *others: Any, out_shape: Any = None, **_: Any) -> int:
    return 2 * dy[0] * out_shape[0]  # type: ignore[no-any-return]


def _conv2d(
    x: torch.Size, values: torch.Size, *others: Any, out_shape: Any = None, **_: Any
) -> int:
    return 2 * _windows(out_shape) * values[0]


def _conv2d_grad_input(
    dy: torch.Size, values: torch.Size, *others: Any, out_shape: Any = None, **_: Any
) -> int:
    return 2 * _windows(dy) * values[0]


def _conv2d_grad_values(dy: torch.Size, *others: Any, out_shape: Any = None, **_: Any) -> int:
    return 2 * _windows(dy) * out_shape[0]  # type: ignore[no-any-return]


def _windows(y: Any) -> int:
    """The windows of outputs (N, out, H', W')."""
    return prod((y[0], *y[2:]))


_FORMULAS = {
    "linear": _linear,
    "linear_grad_input": _linear,
    "linear_grad_values": _linear_grad_values,
    "conv2d": _conv2d,
    "conv2d_grad_input": _conv2d_grad_input,
    "conv2d_grad_values": _conv2d_grad_values,
}

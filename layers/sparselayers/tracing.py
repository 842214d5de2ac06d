"""What tracers and function transforms need: a way to notice them, and rules to hand to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

Function = Callable[..., Any]


class Arrays(NamedTuple):
    """What an operator takes of a Connectivity; checked when the operator runs on data."""

    shape: tuple[int, int]
    row_ptr: Tensor
    col: Tensor


def is_traced(*tensors: Tensor | None) -> bool:
    """Return whether somebody traces, transforms or subclasses: data cannot be used directly."""
    for tensor in tensors:
        if tensor is not None and (type(tensor) not in _PLAIN or tensor.is_meta):
            return True
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._is_tracing()
    )


def differentiable(
    operator: Any, save: Function, backward: Function, *, rows_are_independent: bool
) -> Function:
    """Give `operator` rules for differentiation and batching; return it for use in formulas.

    Operators cannot be differentiated by torch.func, functions can: the same rules make one.
    Where `rows_are_independent`, a batch of first arguments is computed as one longer batch;
    anything else is taken one by one.
    """

    class Differentiable(torch.autograd.Function):
        @staticmethod
        def forward(*args: Any) -> Any:
            return operator(*args)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            save(ctx, inputs)

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            return backward(ctx, *gradients)

        @staticmethod
        def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
            # What is no tensor cannot be batched; of a list each entry has a dimension of its own.
            pairs = zip(args, in_dims, strict=True)
            dims = [dim if isinstance(arg, Tensor) else None for arg, dim in pairs]
            if rows_are_independent and not any(dim is not None for dim in dims[1:]):
                rows = args[0].movedim(dims[0], 0)
                y = call(rows.flatten(0, 1), *args[1:])
                return y.reshape(*rows.shape[:2], *y.shape[1:]), 0
            one_by_one = [
                [
                    arg if dim is None else arg.select(dim, i)
                    for arg, dim in zip(args, dims, strict=True)
                ]
                for i in range(info.batch_size)
            ]
            return torch.stack([call(*one) for one in one_by_one]), 0

    def call(*args: Any) -> Any:
        if torch._C._are_functorch_transforms_active() and not torch.compiler.is_compiling():
            return Differentiable.apply(*args)
        return operator(*args)

    operator.register_autograd(backward, setup_context=Differentiable.setup_context)
    operator.register_vmap(Differentiable.vmap)
    return call


_PLAIN = (Tensor, Parameter)

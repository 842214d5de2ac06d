"""nn.Linear in inference through torch.compile, frozen: the weight is a constant, and packed.

Inductor packs what it takes for constant in the way of the library that it calls: MKL or oneDNN.
Packing and compiling are part of building.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.cases.case import DTYPE_BYTES, Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense import linear_of
from sparsebench.implementations.dense_compiled import DenseCompiled


class DenseFrozen(DenseCompiled):
    """`nn.Linear`, compiled with `torch._inductor.config.freezing`."""

    name = "dense_frozen"
    devices = ("cpu",)
    trains = False

    def bytes_needed(self, case: Case) -> int:
        """Count the packed weight too, while both are there."""
        return super().bytes_needed(case) + case.weights * DTYPE_BYTES[case.dtype]

    def build(self, problem: Problem) -> nn.Module:
        """Compile, and run once."""
        return _Frozen(problem)


class _Frozen(nn.Module):
    def __init__(self, problem: Problem) -> None:
        super().__init__()
        linear = linear_of(problem).eval().requires_grad_(False)
        self._linear = [linear]  # nothing of it trains: no parameter of this module
        options: dict[str, Any] = {"freezing": True}
        self._compiled = torch.compile(linear, fullgraph=True, dynamic=False, options=options)
        with torch.no_grad():
            self(problem.x)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._compiled(x)
        return y

"""The dense layer for one sample as what it is: a matrix by a vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.cases.case import Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense import Dense, linear_of


class DenseMV(Dense):
    """`torch.addmv`, at batch 1."""

    name = "dense_mv"
    operations = ("linear",)

    def unsupported(self, case: Case) -> str | None:
        """Say that there is more than one sample."""
        if reason := super().unsupported(case):
            return reason
        return None if case.batch == 1 else f"{self.name} is for batch 1, got {case.batch}"

    def build(self, problem: Problem) -> nn.Module:
        """Make the dense layer with another product."""
        return _MV(linear_of(problem))


class _MV(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmv(self.bias, self.weight, x[0])[None]

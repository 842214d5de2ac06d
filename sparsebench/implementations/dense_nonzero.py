"""The dense layer at the inputs that are not zero: their columns of the weight are gathered.

The weight lies column by column, prepared once. Which inputs are zero is found in every call; those
that any sample of the batch has are taken.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.cases.case import Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense import Dense, weight_of


class DenseNonzero(Dense):
    """Multiplies inputs that are not zero by their columns of the dense weight, in inference."""

    name = "dense_nonzero"
    operations = ("linear",)
    trains = False
    stands_in = False

    def bytes_needed(self, case: Case) -> int:
        """Count the columns that are gathered too."""
        return 2 * super().bytes_needed(case)

    def build(self, problem: Problem) -> nn.Module:
        """Keep the weight column by column."""
        return _DenseNonzero(problem)


class _DenseNonzero(nn.Module):
    weight: Tensor
    bias: Tensor

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.register_buffer("weight", weight_of(problem).t().contiguous())
        self.register_buffer("bias", problem.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        inputs = (x != 0).any(0).nonzero().squeeze(1)
        return torch.addmm(self.bias, x[:, inputs], self.weight[inputs])

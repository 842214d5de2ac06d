"""The dense layer at the inputs that are not zero: only their columns of the weight are read.

The weight lies column by column, prepared once. Which inputs of each sample are zero is found in
every call; `embedding_bag` adds up the columns of the others, weighted, without a copy of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense import Dense, weight_of


class DenseNonzero(Dense):
    """Adds up the columns of the dense weight whose inputs are not zero, in inference."""

    name = "dense_nonzero"
    operations = ("linear",)
    dtypes = ("float64", "float32")
    trains = False
    stands_in = False

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
        sample, column = x.nonzero(as_tuple=True)
        first = torch.searchsorted(sample, torch.arange(len(x), device=x.device))
        return self.bias + nn.functional.embedding_bag(
            column, self.weight, first, mode="sum", per_sample_weights=x[sample, column]
        )

"""PyTorch's own COO tensors with autograd."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation


class TorchCOO(Implementation):
    """Makes a coalesced COO tensor of the values in every step: that costs no copy."""

    name = "torch_coo"
    gflops = 2.0

    def build(self, problem: Problem) -> nn.Module:
        """Keep the values as a parameter and both indices as a buffer."""
        return _COOLinear(problem)


class _COOLinear(nn.Module):
    indices: Tensor

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        connectivity = problem.connectivity
        self.shape = connectivity.shape
        self.register_buffer("indices", torch.stack((connectivity.row, connectivity.col)).long())
        self.weights = nn.Parameter(problem.values.clone())
        self.bias = nn.Parameter(problem.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.sparse_coo_tensor(
            self.indices, self.weights, self.shape, is_coalesced=True, check_invariants=False
        )
        y: Tensor = torch.sparse.mm(weight, x.t()).t() + self.bias
        return y

"""PyTorch's own CSR tensors with autograd."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation


class TorchCSR(Implementation):
    """Makes a CSR tensor of the values in every step: that costs no copy."""

    name = "torch_csr"
    dtypes = ("float64", "float32")
    operations = ("linear", "product")
    gflops = 3.0

    def build(self, problem: Problem) -> nn.Module:
        """Keep the values as a parameter and the index arrays as buffers."""
        return _CSRLinear(problem)

    def product(self, problem: Problem) -> nn.Module:
        """Make the CSR tensor once; on a CPU its product is MKL's."""
        return _CSRProduct(problem)


class _CSRProduct(nn.Module):
    weight: Tensor

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        connectivity = problem.connectivity
        arrays = (connectivity.row_ptr, connectivity.col, problem.values)
        weight = torch.sparse_csr_tensor(*arrays, connectivity.shape, check_invariants=False)
        self.register_buffer("weight", weight.clone())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.sparse.mm(self.weight, x.t()).t()
        return y


class _CSRLinear(nn.Module):
    row_ptr: Tensor
    col: Tensor

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        connectivity = problem.connectivity
        self.shape = connectivity.shape
        self.register_buffer("row_ptr", connectivity.row_ptr.clone())
        self.register_buffer("col", connectivity.col.clone())
        self.weights = nn.Parameter(problem.values.clone())
        self.bias = nn.Parameter(problem.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.sparse_csr_tensor(
            self.row_ptr, self.col, self.weights, self.shape, check_invariants=False
        )
        y: Tensor = torch.sparse.mm(weight, x.t()).t() + self.bias
        return y

"""SciPy's CSR matrix: one thread, no gradients, everywhere.

The matrix is made beforehand, with int32 indices. SciPy copies an input that is not in its order,
features first, in every call.
"""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation


class ScipyCSR(Implementation):
    """`scipy.sparse.csr_array @ x`, in inference alone."""

    name = "scipy_csr"
    devices = ("cpu",)
    dtypes = ("float64", "float32")
    operations: ClassVar[tuple[str, ...]] = ("linear", "product")
    trains = False
    modules = ("scipy.sparse",)
    install = "pip install scipy"
    gflops = 4.0
    setup_s = 0.1

    def build(self, problem: Problem) -> nn.Module:
        """Keep the matrix; there is nothing to train."""
        return _ScipyLinear(problem)

    def product(self, problem: Problem) -> nn.Module:
        """Keep the matrix alone."""
        return _ScipyProduct(problem)


def matrix_of(problem: Problem, kind: str) -> Any:
    """Return a copy of the problem's weight as SciPy's `kind`, csr_array or csr_matrix."""
    connectivity = problem.connectivity
    arrays = (problem.values, connectivity.col, connectivity.row_ptr)
    return getattr(importlib.import_module("scipy.sparse"), kind)(
        tuple(array.numpy() for array in arrays), shape=connectivity.shape, copy=True
    )


class _ScipyProduct(nn.Module):
    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.matrix = matrix_of(problem, "csr_array")

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.matrix @ x.t().numpy()).t()


class _ScipyLinear(_ScipyProduct):
    bias: Tensor

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.register_buffer("bias", problem.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.bias

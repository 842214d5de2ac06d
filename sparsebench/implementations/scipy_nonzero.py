"""SciPy's product of two sparse matrices: zeros of the input and of the weights are skipped.

The weight is made beforehand, (in, out); the input becomes a CSR matrix in every call, and the
product, which SciPy returns as one, a dense tensor.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations.scipy_csr import ScipyCSR, matrix_of


class ScipyNonzero(ScipyCSR):
    """`csr_array(x) @ scipy.sparse.csr_array`, in inference alone."""

    name = "scipy_nonzero"
    operations = ("linear",)
    stands_in = False
    gflops = 0.5

    def build(self, problem: Problem) -> nn.Module:
        """Keep the transposed matrix; there is nothing to train."""
        return _ScipyNonzero(problem)


class _ScipyNonzero(nn.Module):
    bias: Tensor

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.matrix = matrix_of(problem, "csr_array").T.tocsr()
        self._sparse: Any = importlib.import_module("scipy.sparse").csr_array
        self.register_buffer("bias", problem.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy((self._sparse(x.numpy()) @ self.matrix).toarray()) + self.bias

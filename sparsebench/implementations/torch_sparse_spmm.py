"""torch-sparse's functional way, `torch_sparse.spmm`: gather, multiply, scatter.

It takes indices as int64 and writes a (nnz, batch) matrix for every intermediate result, four of
them in a training step, so that time and memory grow with nnz × batch. The indices are prepared
beforehand; there is nothing else to prepare.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.cases.case import DTYPE_BYTES, Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation

# Source only, compiled against the torch that is there.
INSTALL = "pip install --no-build-isolation torch-scatter==2.1.2 torch-sparse==0.6.18"


class TorchSparseSpmm(Implementation):
    """Multiplies a COO index and its values, in one call."""

    name = "torch_sparse_spmm"
    modules = ("torch_scatter", "torch_sparse")
    install = INSTALL
    gflops = 0.6
    setup_s = 0.3

    def bytes_needed(self, case: Case) -> int:
        """Count the intermediate results: two in inference, four in training."""
        return super().bytes_needed(case) + 4 * case.nnz * case.batch * DTYPE_BYTES[case.dtype]

    def build(self, problem: Problem) -> nn.Module:
        """Keep the values as a parameter and (row, col) as a buffer."""
        return _SpmmLinear(problem)


class _SpmmLinear(nn.Module):
    index: Tensor

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        from torch_sparse import spmm

        self.spmm = spmm
        self.shape = problem.connectivity.shape
        index = torch.stack((problem.connectivity.row, problem.connectivity.col)).long()
        self.register_buffer("index", index)
        self.weights = nn.Parameter(problem.values.clone())
        self.bias = nn.Parameter(problem.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.spmm(self.index, self.weights, *self.shape, x.t()).t() + self.bias
        return y

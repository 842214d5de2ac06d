"""torch-sparse's other way, `SparseTensor.matmul`: a row-parallel kernel for each product.

A user keeps the SparseTensor and puts the current values into it in every step, which copies
nothing. Prepared beforehand are its int64 indices and all that it caches of them: the rows, and
for the gradient of the input the transpose's pointers and permutation.
"""

from __future__ import annotations

from torch import Tensor, nn

from sparsebench.cases.case import Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation
from sparsebench.implementations.torch_sparse_spmm import INSTALL


class TorchSparseMatmul(Implementation):
    """Multiplies a SparseTensor whose caches are full."""

    name = "torch_sparse_matmul"
    dtypes = ("float64", "float32")
    modules = ("torch_scatter", "torch_sparse")
    install = INSTALL
    gflops = 4.0
    setup_s = 0.4

    def bytes_needed(self, case: Case) -> int:
        """Count the int64 caches: column, row, both permutations, and the gathered values."""
        return super().bytes_needed(case) + 40 * case.nnz

    def build(self, problem: Problem) -> nn.Module:
        """Keep the values as a parameter beside the tensor that they are put into."""
        return _SparseTensorLinear(problem)


class _SparseTensorLinear(nn.Module):
    def __init__(self, problem: Problem) -> None:
        super().__init__()
        from torch_sparse import SparseTensor

        connectivity = problem.connectivity
        self.matrix = SparseTensor(
            rowptr=connectivity.row_ptr.long(),
            col=connectivity.col.long(),
            sparse_sizes=connectivity.shape,
            is_sorted=True,
        ).fill_cache_()
        self.weights = nn.Parameter(problem.values.clone())
        self.bias = nn.Parameter(problem.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        weight = self.matrix.set_value(self.weights, layout="csr")
        y: Tensor = weight.matmul(x.t()).t() + self.bias
        return y

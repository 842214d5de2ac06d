"""sparselab: sparse training on CPUs, with rows padded so that connections can be added.

`sparselab.SparseLinear` draws its own connections from a dense matrix, so the layer is made first
and then given the problem's as a `PaddedCSR`, without the padding: the topology is fixed here, and
less padding is faster. It computes in float32 and caches the transpose at the first backward pass,
which is not timed. Its wheel brings an OpenMP runtime of its own, a second one beside PyTorch's,
which has to be told the number of threads. The cached transposes are known by the id of a matrix,
also after its end: one process, one layer, or gradients may be another's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from sparsebench.cases.case import DTYPE_BYTES, Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation, gradient


class SparseLab(Implementation):
    """`sparselab.SparseLinear` with the problem's connections."""

    name = "sparselab"
    devices = ("cpu",)
    dtypes = ("float32",)
    modules = ("sparselab",)
    install = "pip install sparselab"
    gflops = 20.0
    setup_s = 0.5

    def bytes_needed(self, case: Case) -> int:
        """Count the dense weight, mask and product that the layer is first drawn from."""
        weights = case.in_features * case.out_features
        return super().bytes_needed(case) + 4 * weights * DTYPE_BYTES[case.dtype]

    def build(self, problem: Problem) -> nn.Module:
        """Make the layer and replace its matrix; the parameter shares the matrix's memory."""
        import sparselab

        out_features, in_features = problem.connectivity.shape
        threadpool_limits(torch.get_num_threads(), user_api="openmp")
        layer: Any = sparselab.SparseLinear(in_features, out_features, padding_ratio=0.0)
        weight = torch.sparse_csr_tensor(
            problem.connectivity.row_ptr,
            problem.connectivity.col,
            problem.values,
            problem.connectivity.shape,
        )
        matrix = sparselab.PaddedCSR.from_torch_sparse_csr(weight, padding_ratio=0.0)
        layer._csr = matrix
        layer._values = nn.Parameter(torch.from_numpy(np.asarray(matrix.values)))
        with torch.no_grad():
            layer.bias.copy_(problem.bias)
        return layer  # type: ignore[no-any-return]

    def values_gradient(self, module: nn.Module, problem: Problem) -> Tensor:
        """Return the gradient without the slot that an empty row is given all the same."""
        del problem
        columns: Any = module._csr
        slots = torch.from_numpy(np.asarray(columns.col_indices)) >= 0
        return gradient(module, "_values")[slots]

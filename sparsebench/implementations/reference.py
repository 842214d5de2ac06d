"""The reference backend of `layers`: plain PyTorch, what runs where no kernel was compiled."""

from __future__ import annotations

from torch import Tensor

from layers import SparseLinear
from layers.functional import sparse_linear
from sparsebench.case import Case
from sparsebench.implementations.base import DTYPE_BYTES
from sparsebench.implementations.ours import Ours


class _ReferenceLinear(SparseLinear):
    def forward(self, x: Tensor) -> Tensor:
        return sparse_linear(x, self.values, self.bias, self.connectivity, backend="reference")


class Reference(Ours):
    """Gathers both ends of every connection for every sample."""

    name = "reference"
    gflops = 0.3
    layer = _ReferenceLinear

    def bytes_needed(self, case: Case) -> int:
        """Count the terms of all connections and samples, and their index."""
        terms = 3 * case.batch * case.nnz * max(4, DTYPE_BYTES[case.dtype])
        return super().bytes_needed(case) + terms + 16 * case.nnz

"""The reference backend of `layers`: plain PyTorch, what runs where no kernel was compiled."""

from __future__ import annotations

from sparsebench.cases.case import DTYPE_BYTES, Case
from sparsebench.implementations.ours import Ours
from sparselayers.convolution.windows import BLOCK


class Reference(Ours):
    """Gathers both ends of every connection for every sample."""

    name = "reference"
    operations = ("linear", "conv2d", "product")
    gflops = 0.3
    backend = "reference"

    def bytes_needed(self, case: Case) -> int:
        """Count the terms of all connections and samples, and their index.

        A convolution takes its windows in blocks.
        """
        terms = case.batch * case.windows * case.nnz
        if case.operation == "conv2d":
            terms = min(terms, 4 * BLOCK)
        return (
            super().bytes_needed(case) + 3 * terms * max(4, DTYPE_BYTES[case.dtype]) + 16 * case.nnz
        )

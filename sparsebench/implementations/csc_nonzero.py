"""Sparse weights at the inputs that are not zero: both kinds of zeros are skipped.

The weight lies in columns (CSC), prepared once; of each sample the columns of the inputs that are
not zero are gathered, multiplied and added up, by plain operations of PyTorch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.cases.case import DTYPE_BYTES, Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation


class CSCNonzero(Implementation):
    """Visits the connections of inputs that are not zero, sample by sample, in inference."""

    name = "csc_nonzero"
    trains = False
    stands_in = False
    gflops = 0.3

    def bytes_needed(self, case: Case) -> int:
        """Count places and terms of all connections that are visited."""
        visited = case.batch * case.nnz
        return super().bytes_needed(case) + visited * (24 + 2 * DTYPE_BYTES[case.dtype])

    def build(self, problem: Problem) -> nn.Module:
        """Arrange the connections in columns."""
        return _CSCNonzero(problem)


class _CSCNonzero(nn.Module):
    first: Tensor
    count: Tensor
    row: Tensor
    values: Tensor
    bias: Tensor

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        col_ptr, row, permutation = problem.connectivity.transposed
        self.register_buffer("first", col_ptr[:-1].long())
        self.register_buffer("count", col_ptr.diff().long())
        self.register_buffer("row", row.long())
        self.register_buffer("values", problem.values[permutation])
        self.register_buffer("bias", problem.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        sample, column = x.nonzero(as_tuple=True)
        count = self.count[column]
        # The place of each connection: its column's first one, and how manieth it is of the column.
        ends = count.cumsum(0)
        total = int(ends[-1]) if ends.numel() else 0
        shift = (self.first[column] - ends + count).repeat_interleave(count, output_size=total)
        place = torch.arange(total, device=x.device) + shift
        terms = self.values[place] * x[sample, column].repeat_interleave(count, output_size=total)
        y = self.bias.repeat(len(x), 1)
        target = self.row[place]
        if len(x) > 1:
            target += (sample * y.shape[1]).repeat_interleave(count, output_size=total)
        return y.view(-1).index_add_(0, target, terms).view(y.shape)

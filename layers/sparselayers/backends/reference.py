"""The oracle: the three products in plain PyTorch, on any device, slow and obviously right."""

from __future__ import annotations

import torch
from torch import Tensor

from sparselayers.accumulation import wide_type
from sparselayers.backends.base import Backend
from sparselayers.connectivity import Connectivity


class Reference(Backend):
    """Gathers both ends of every connection; needs memory for batch × nnz numbers."""

    name = "reference"

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Serve every floating point type everywhere."""
        del device
        return dtype.is_floating_point

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias: add each connection's term to its output."""
        wide = wide_type(values.dtype)
        terms = x.to(wide)[:, connectivity.col.long()] * values.to(wide)
        y = terms.new_zeros(x.shape[0], connectivity.shape[0])
        y.index_add_(1, connectivity.row.long(), terms)
        return (y if bias is None else y + bias.to(wide)).to(values.dtype)

    def grad_input(self, dy: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return dx = dy W: add each connection's term to its input."""
        wide = wide_type(values.dtype)
        terms = dy.to(wide)[:, connectivity.row.long()] * values.to(wide)
        dx = terms.new_zeros(dy.shape[0], connectivity.shape[1])
        return dx.index_add_(1, connectivity.col.long(), terms).to(values.dtype)

    def grad_values(self, dy: Tensor, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return the product of both ends of every connection, summed over the batch."""
        wide = wide_type(dy.dtype)
        ends = dy.to(wide)[:, connectivity.row.long()] * x.to(wide)[:, connectivity.col.long()]
        return ends.sum(0).to(dy.dtype)

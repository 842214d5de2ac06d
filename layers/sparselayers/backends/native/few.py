"""A few rows of a small layer, by the lanes: arranged within a call, and each product is one.

Which way computes them, how the batch is cut and on how many threads is kept (short.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparselayers.backends.base import Gradients
from sparselayers.backends.native import arranging, library, nonzero
from sparselayers.backends.native.lanes import Lanes
from sparselayers.backends.native.library import WORTH_A_THREAD, address, threads_of_product
from sparselayers.backends.native.rows import rows_of
from sparselayers.backends.native.short import Short
from sparselayers.connectivity import Connectivity

MOST = 16  # rows of a batch that the widest of registers holds
_FEW_SUMS = 4096  # that take less to clear and add up than a longer way takes to begin
_LANES = Lanes()


class Few(Short):
    """The products of a few rows, which have the inputs that are zero skipped where that gains."""

    def __init__(self, batch: int, connectivity: Connectivity, dtype: torch.dtype) -> None:
        threads = threads_of_product(batch, connectivity.nnz, dtype)
        super().__init__(batch, connectivity, dtype, rows_of(connectivity), threads)
        self._may_skip = nonzero.may_gain(batch, connectivity, dtype)
        kernels = library.loops(dtype, "few_multiply", "few_backward")
        self._multiply, self._backward = kernels.few_multiply, kernels.few_backward

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias."""
        if self._may_skip and nonzero.gains(x, connectivity):
            return nonzero.forward(x, values, bias, connectivity)
        y = values.new_empty(self._batch, self._outputs)
        self._multiply(
            self._layer,
            values.data_ptr(),
            0 if bias is None else bias.data_ptr(),
            x.data_ptr(),
            *x.stride(),
            self._batch,
            y.data_ptr(),
            self._threads,
        )
        return y

    def backward(
        self,
        dy: Tensor,
        x: Tensor | None,
        values: Tensor,
        connectivity: Connectivity,
        *,
        needs: tuple[bool, bool, bool],
    ) -> Gradients:
        """Return the gradients that are needed: all from one pass, or else as the lanes do."""
        if x is None or not (needs[0] and needs[1]):
            if x is not None:
                x = _LANES.arrange(x, connectivity)
            return _LANES.backward(dy, x, values, connectivity, needs=needs)
        found = self._gradients(values, needs)
        self._backward(
            self._layer,
            values.data_ptr(),
            dy.data_ptr(),
            *dy.stride(),
            x.data_ptr(),
            *x.stride(),
            self._batch,
            *map(address, found),
            self._threads,
        )
        return found


def is_small(batch: int, connectivity: Connectivity, dtype: torch.dtype) -> bool:
    """Return whether such a call is as short as what precedes it, and both gradients are one pass.

    A larger one is arranged by several threads; a very sparse one has more inputs than
    connections, and would add up a gradient for each thread that is mostly zeros, unless those are
    few.
    """
    if not 0 < batch <= MOST or dtype not in library.SUFFIXES:
        return False
    unit = arranging.unit(batch, dtype)
    if batch > unit or batch * max(connectivity.shape) > WORTH_A_THREAD:
        return False
    sums = threads_of_product(batch, connectivity.nnz, dtype) * connectivity.shape[1] * unit
    return bool(sums <= max(2 * connectivity.nnz, _FEW_SUMS))

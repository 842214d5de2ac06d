"""A few rows by bitmaps: each product is one call, and both gradients are one pass (csrc/bitmaps).

What such a call would ask again is kept (short.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparselayers.backends.base import Gradients
from sparselayers.backends.native import library
from sparselayers.backends.native.bits import bitmap_of
from sparselayers.backends.native.lanes import Lanes
from sparselayers.backends.native.library import address
from sparselayers.backends.native.short import Short
from sparselayers.connectivity import Connectivity

MOST = 4  # see most_few in csrc/bitmaps/bitmaps.h
_KEPT = 32  # of sizes of batches, types and numbers of threads
_LANES = Lanes()


class FewBitmaps(Short):
    """The products of a few rows, which meet the weights as these are laid out, in registers.

    Numbers that are not finite are left to the lanes: a zero of the weight would pass them on.
    """

    def __init__(self, batch: int, connectivity: Connectivity, dtype: torch.dtype) -> None:
        threads = threads_of(batch, connectivity)
        super().__init__(batch, connectivity, dtype, bitmap_of(connectivity), threads)
        kernels = library.loops(dtype, "bitmap_few_multiply", "bitmap_few_backward")
        self._multiply = kernels.bitmap_few_multiply
        self._backward = kernels.bitmap_few_backward

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias."""
        y = values.new_empty(self._batch, self._outputs)
        finite = self._multiply(
            self._layer,
            values.data_ptr(),
            0 if bias is None else bias.data_ptr(),
            x.data_ptr(),
            *x.stride(),
            self._batch,
            y.data_ptr(),
            self._threads,
        )
        return y if finite else _LANES.forward(x, values, bias, connectivity)

    def backward(
        self,
        dy: Tensor,
        x: Tensor | None,
        values: Tensor,
        connectivity: Connectivity,
        *,
        needs: tuple[bool, bool, bool],
    ) -> Gradients:
        """Return the gradients that are needed, from one pass."""
        found = self._gradients(values, (needs[0], needs[1] and x is not None, needs[2]))
        finite = self._backward(
            self._layer,
            values.data_ptr(),
            dy.data_ptr(),
            *dy.stride(),
            *((0, 0, 0) if x is None else (x.data_ptr(), *x.stride())),
            self._batch,
            *map(address, found),
            self._threads,
        )
        return found if finite else _LANES.backward(dy, x, values, connectivity, needs=needs)


def is_few(batch: int) -> bool:
    """Return whether a batch is computed so, by bitmaps."""
    return 0 < batch <= MOST


def kept(batch: int, connectivity: Connectivity, dtype: torch.dtype) -> FewBitmaps:
    """Return what computes a few rows with the threads that there are now, made once."""
    key = "few bitmaps", batch, dtype, torch.get_num_threads()
    return connectivity.derive(key, FewBitmaps, batch, connectivity, dtype, at_most=_KEPT)


def threads_of(batch: int, connectivity: Connectivity) -> int:
    """Return how many threads are worth starting for a few rows."""
    outputs, inputs = connectivity.shape
    return library.threads(outputs * inputs * (1 + batch) // 8)

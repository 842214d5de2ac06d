"""The places of connections, one bit each, as the kernels of bitmaps know them (csrc/bitmaps)."""

from __future__ import annotations

import torch

from sparselayers.backends.native.library import ready, threads
from sparselayers.backends.native.told import Told
from sparselayers.connectivity import Connectivity

WORD = 64  # places of a word
# Connections of a row are counted in 16 bits.
_MOST_INPUTS = 1 << 16


def serves(connectivity: Connectivity) -> bool:
    """Return whether these connections can be told as bits: not in the widest of layers."""
    return connectivity.shape[1] < _MOST_INPUTS and connectivity.col.dtype == torch.int32


def bitmap_of(connectivity: Connectivity) -> Told:
    """Return the bits, made once.

    Raises ValueError for layers of 65536 inputs and more.
    """
    return connectivity.derive("bitmap", lambda: _make(connectivity))


def _make(connectivity: Connectivity) -> Told:
    if not serves(connectivity):
        raise ValueError(
            f"bitmaps serve layers of fewer than {_MOST_INPUTS} inputs, "
            f"got {connectivity.shape[1]}: choose backend 'lanes'"
        )
    row_ptr, col = connectivity.row_ptr, connectivity.col
    outputs, inputs = connectivity.shape
    places = outputs * -(-inputs // WORD)
    bits = torch.empty(places, dtype=torch.int64)
    before = torch.empty(places, dtype=torch.uint16)
    starts = row_ptr.long()
    kernel = ready().Bitmap(outputs, inputs, bits.data_ptr(), before.data_ptr(), starts.data_ptr())
    kernel.fill(row_ptr.data_ptr(), col.data_ptr(), threads(connectivity.nnz))
    return Told(kernel, (bits, before, starts))

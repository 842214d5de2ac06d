"""The places of connections, one bit each, as the kernels of bitmaps know them (csrc/bitmaps).

They say all that the columns say, in 10 bits for 8 places: columns are kept in them alone
(told.py).
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from sparselayers.backends.native.library import ready, threads
from sparselayers.backends.native.told import Told, tensor_of
from sparselayers.connectivity import Connectivity

WORD = 64  # places of a word
# Connections of a row are counted in 16 bits.
_MOST_INPUTS = 1 << 16


def serves(connectivity: Connectivity) -> bool:
    """Return whether these connections can be told as bits: not in the widest of layers."""
    return connectivity.shape[1] < _MOST_INPUTS and connectivity.dtype == torch.int32


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
    told = Told(kernel, (bits, before, starts))
    connectivity.keep_in(told.arrays, partial(_columns, told, inputs))
    return told


def _columns(told: Told, inputs: int, rows: slice, connections: slice) -> Tensor:
    """Return the columns of some rows: of the numbers 0, 1, 2, … of places, those with a bit.

    To the kernel they are the gradient of a dense layer, the same one for every row: it moves
    numbers of 32 bits and computes nothing. What it writes it counts from the first connection of
    all.
    """
    places = np.arange(inputs, dtype=np.int32)
    col = np.empty(connections.stop - connections.start, dtype=np.int32)
    ready().bitmap_compress_f32(
        told.kernel,
        rows.start,
        rows.stop,
        places.ctypes.data,
        0,
        col.ctypes.data - connections.start * col.itemsize,
        threads(col.size),
    )
    return tensor_of(col)

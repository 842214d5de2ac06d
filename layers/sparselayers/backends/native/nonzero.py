"""Inputs that are mostly zeros: connections of the others alone are visited (csrc/lanes/nonzero.h).

The lanes read all connections of a layer, whatever they meet. K-winners and ReLUs leave few inputs
that are not zero: going from those, column by column, reads a few of the connections, but their
values from all over the memory, and adds to outputs all over y. One visit costs as much as several
connections in a row, so this is for small batches of which hardly anything is left.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import torch
from torch import Tensor

from sparselayers.backends.native import library
from sparselayers.backends.native.library import SUFFIXES, address, threads
from sparselayers.backends.native.rows import columns_of
from sparselayers.connectivity import Connectivity

_BATCH = 8
_LEAST = 50_000  # connections: of fewer, all are read in the time of a look at the input
# So many connections in a row are read in the time of one visit, by the bytes of all values, which
# caches hold worse and worse.
_IN_A_ROW = {2 << 20: 7, 8 << 20: 14}
_IN_A_ROW_FAR = 24


def may_gain(batch: int, connectivity: Connectivity, dtype: torch.dtype) -> bool:
    """Return whether inputs of such a batch are worth a look."""
    return 0 < batch <= _BATCH and dtype in SUFFIXES and connectivity.nnz >= _LEAST


def gains(x: Tensor, connectivity: Connectivity) -> bool:
    """Return whether so few connections meet an input that is not zero that visiting them pays."""
    batch, features = x.shape
    if not may_gain(batch, connectivity, x.dtype):
        return False
    held = connectivity.nnz * x.element_size()
    in_a_row = next((each for most, each in _IN_A_ROW.items() if held <= most), _IN_A_ROW_FAR)
    kernels, place = _of(x.dtype), (x.data_ptr(), *x.stride(), batch)
    if kernels.nonzero(*place, features) * in_a_row > features:
        return False
    columns = columns_of(connectivity)
    return bool(kernels.visited(columns.kernel, *place) * in_a_row <= connectivity.nnz)


def forward(x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity) -> Tensor:
    """Return y = x Wᵀ + bias. Weights at inputs that are zero are not looked at, be they NaN."""
    y = values.new_empty(x.shape[0], connectivity.shape[0])
    kernels, columns = _of(values.dtype), columns_of(connectivity)
    place = x.data_ptr(), *x.stride(), x.shape[0]
    kernels.multiply_nonzero(
        columns.kernel,
        values.data_ptr(),
        address(bias),
        *place,
        y.data_ptr(),
        *y.stride(),
        threads(64 * kernels.visited(columns.kernel, *place)),
    )
    return y


@cache
def _of(dtype: torch.dtype) -> SimpleNamespace:
    """The kernels for one type of values."""
    return library.loops(dtype, "nonzero", "visited", "multiply_nonzero")

"""Rows of connections as the kernels of the lanes know them, and the transpose (lanes/layer.h).

Columns are kept in as few bits as name them, and cut into tiles, so that the features that a tile
meets stay in the caches. They are kept so alone (told.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sparselayers.backends.native.library import ready, threads
from sparselayers.backends.native.told import NUMPY, Told, tensor_of
from sparselayers.connectivity import Connectivity

# Layers of no more features on either side name them in 16 bits: see layer.h.
_FEATURES_16 = 1 << 16

# A tile of columns holds about so many connections of a row: fewer, and the start of a row costs
# more than a small tile gains. A tile has at least so many columns. Where many rows are empty, a
# pointer into a tile must still serve so many connections, or pointers would take up the memory.
_TILE_CONNECTIONS = 12
_TILE_FEATURES = 32
_POINTED_CONNECTIONS = 4


def rows_of(connectivity: Connectivity) -> Told:
    """Return what the kernels know of the connections, made once."""
    return connectivity.derive("native rows", lambda: _make_rows(connectivity))


def columns_of(connectivity: Connectivity) -> Told:
    """Return what the kernels know of the transpose, made once."""
    return connectivity.derive("native columns", lambda: _make_columns(connectivity))


def _make_rows(connectivity: Connectivity) -> Told:
    """Tell the kernels of the connections, as they are.

    The arrays are copies that nobody else has: somebody may move the memory of any tensor that he
    can get, to share it with another process for one, and kernels know addresses.
    """
    kind, ptr = kind_of(connectivity), connectivity.row_ptr.clone()
    col = connectivity.col.to(kind.features, copy=True)
    (count, features), (filled, longest) = connectivity.shape, lengths(ptr)
    kernel = kind.rows(count, features, filled, longest, ptr.data_ptr(), col.data_ptr(), 0, 0)
    told = _tiled(Told(kernel, (ptr, col)), (count, features), filled, connectivity.nnz)
    connectivity.keep_in((col,), partial(_columns, col.numpy(), NUMPY[connectivity.dtype]))
    return told


def _columns(col: Any, dtype: Any, rows: slice, connections: slice) -> Tensor:
    """Return the columns of some connections, of the type that they had."""
    del rows
    return tensor_of(col[connections].astype(dtype))


def _make_columns(connectivity: Connectivity) -> Told:
    """Tell the kernels of the connections, transposed."""
    kind, (out_features, in_features) = kind_of(connectivity), connectivity.shape
    rows = rows_of(connectivity)
    starts, nnz = rows.arrays[0], connectivity.nnz
    ptr = starts.new_empty(in_features + 1)
    entries = starts.new_empty(nnz, 2, dtype=kind.features)
    rows.kernel.transpose(ptr.data_ptr(), entries.data_ptr(), threads(nnz))
    filled, longest = lengths(ptr)
    kernel = kind.rows(
        in_features,
        out_features,
        filled,
        longest,
        ptr.data_ptr(),
        0,
        entries.data_ptr(),
        starts.data_ptr(),
    )
    made = Told(kernel, (ptr, entries, starts))
    return _tiled(made, (in_features, out_features), filled, nnz)


@dataclass(frozen=True, slots=True)
class Kind:
    """How the kernels count connections and name features: see layer.h."""

    rows: Any
    features: torch.dtype


def kind_of(connectivity: Connectivity) -> Kind:
    """Return the narrowest kind that serves these connections."""
    kernels = ready()
    if connectivity.dtype == torch.int64:
        return Kind(kernels.Rows64, torch.int64)
    if max(connectivity.shape) > _FEATURES_16:
        return Kind(kernels.Rows32, torch.int32)
    return Kind(kernels.Rows16, torch.uint16)


def lengths(ptr: Tensor) -> tuple[int, int]:
    """Return how many rows have connections, and how many the longest has."""
    if len(ptr) == 1:
        return 0, 0
    each = ptr.diff()
    return int(each.count_nonzero()), int(each.max())


def _tiled(rows: Told, shape: tuple[int, int], filled: int, nnz: int) -> Told:
    """Cut the columns into tiles in which a row that has any has some _TILE_CONNECTIONS."""
    count, features = shape
    tiles = min(
        nnz // (max(1, filled) * _TILE_CONNECTIONS),
        nnz // (max(1, count) * _POINTED_CONNECTIONS),
        features // _TILE_FEATURES,
    )
    if tiles < 2:
        return rows
    tile_ptr = rows.arrays[0].new_empty((tiles + 1) * count)
    address, width = tile_ptr.data_ptr(), -(-features // tiles)
    rows.kernel.find_tiles(tiles, width, address, threads(nnz))
    return Told(rows.kernel.tiled(tiles, address), (*rows.arrays, tile_ptr))

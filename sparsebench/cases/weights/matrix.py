"""A weight matrix as a file holds it, and how what is wrong with one is said."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsebench.errors import InputError
from sparselayers import Connectivity
from sparselayers.connectivity import index_dtype

Indices = NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Matrix:
    """The connections of a layer, (out, in), and their values (nnz,) where the file has them.

    Of the weights of a convolution, (out, in, kernel, kernel), it is the matrix (out, in · kernel²)
    and `kernel` is its window; 0 where the file says nothing of a window.
    """

    connectivity: Connectivity
    values: Tensor | None = None
    kernel: int = 0

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that tell its connections from others, on every machine."""
        connectivity = self.connectivity
        hashed = hashlib.blake2b(repr(connectivity.shape).encode(), digest_size=6)
        for array in (connectivity.row_ptr, connectivity.col):
            hashed.update(array.numpy().astype("<i8").data)
        return hashed.hexdigest()


def of_rows(shape: tuple[int, int], row_ptr: Indices, col: Indices) -> Connectivity:
    """Return the connections that arrays in CSR order list.

    Raises ValueError, naming the offending entry, where the arrays do not describe them.
    """
    if shape[0] < 1 or shape[1] < 1:
        raise ValueError(f"the shape is {shape[0]} × {shape[1]}: a layer has at least one of each")
    if len(col) == 0:
        raise ValueError("no entry: a layer needs at least one connection")
    # Checked as they are: an index that is too large must not be cut to a smaller type before.
    wide = (torch.from_numpy(array.astype(np.int64)) for array in (row_ptr, col))
    checked = Connectivity.adopt(shape, *wide)
    dtype = index_dtype(shape, checked.nnz)
    if dtype == torch.int64:
        return checked
    return Connectivity.adopt(shape, checked.row_ptr.to(dtype), checked.col.to(dtype))


def of_entries(
    shape: tuple[int, int], row: Indices, col: Indices, values: NDArray[np.generic] | None
) -> tuple[Connectivity, NDArray[np.generic] | None]:
    """Return the connections of entries in any order, and their values in CSR order.

    Raises ValueError for an entry outside `shape`, and for one that is there twice.
    """
    for name, index, size in (("row", row, shape[0]), ("column", col, shape[1])):
        if len(outside := np.flatnonzero((index < 0) | (index >= size))):
            place = outside[0]
            raise ValueError(f"{name} {index[place]} of entry {place} is outside [0, {size})")
    order = np.lexsort((col, row))
    row, col = row[order], col[order]
    twice = np.flatnonzero((row[1:] == row[:-1]) & (col[1:] == col[:-1]))
    if len(twice):
        at = twice[0]
        raise ValueError(f"the entry at row {row[at]}, column {col[at]} is there twice")
    row_ptr = np.zeros(shape[0] + 1, dtype=np.int64)
    np.cumsum(np.bincount(row, minlength=shape[0]), out=row_ptr[1:])
    return of_rows(shape, row_ptr, col), None if values is None else values[order]


def real(values: NDArray[np.generic], place: str) -> Tensor:
    """Return values as float32 or float64; InputError for what is no real or no finite number."""
    if values.dtype.kind not in "fiub":
        raise InputError(f"{place}: holds {values.dtype} values: weights are real numbers")
    numbers = values if values.dtype == np.float64 else values.astype(np.float32)
    return finite(torch.from_numpy(np.ascontiguousarray(numbers)), place)


def finite(values: Tensor, place: str) -> Tensor:
    """Return `values`; raises InputError, naming the first that is not a finite number."""
    bad = (~torch.isfinite(values)).nonzero()
    if len(bad):
        raise InputError(f"{place}: value {int(bad[0])} is {float(values[bad[0]])}")
    return values

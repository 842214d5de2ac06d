"""What arrays in CSR order have to be: their integers, the shape they fit, their order."""

from __future__ import annotations

import operator

import torch
from torch import Tensor

_INT32_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1
_BLOCK = 2**22  # connections that are checked at a time: what it takes beside them stays small


def index_dtype(shape: tuple[int, int], nnz: int) -> torch.dtype:
    """Return the integer type that holds the indices of `nnz` connections of a layer."""
    return torch.int32 if max(*shape, nnz) <= _INT32_MAX else torch.int64


def check_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return `shape` as two positive ints (out, in), or raise ValueError."""
    try:
        out_features, in_features = (operator.index(size) for size in shape)
    except (TypeError, ValueError):
        out_features = in_features = 0
    if out_features < 1 or in_features < 1:
        raise ValueError(f"shape must be (out, in), two positive integers, got {shape!r}")
    if out_features * in_features > _INT64_MAX:
        raise ValueError(f"shape {shape!r} is too large: out · in must be below 2**63")
    return out_features, in_features


def check_arrays(shape: tuple[int, int], row_ptr: Tensor, col: Tensor) -> None:
    """Raise ValueError, naming the offending entry, for what describes no matrix of `shape`."""
    out_features, in_features = check_shape(shape)
    dtype = index_dtype(shape, col.numel())
    for name, array in (("row_ptr", row_ptr), ("col", col)):
        if array.dim() != 1 or array.dtype not in (torch.int32, torch.int64):
            raise ValueError(
                f"{name} must be a 1-D int32 or int64 tensor, "
                f"got {array.dim()}-D {str(array.dtype).removeprefix('torch.')}"
            )
    if row_ptr.dtype != col.dtype or (dtype == torch.int64 and col.dtype != dtype):
        raise ValueError(f"row_ptr ({row_ptr.dtype}) and col ({col.dtype}) must both be {dtype}")
    if row_ptr.device != col.device:
        raise ValueError(f"row_ptr is on {row_ptr.device}, col on {col.device}")
    if row_ptr.numel() != out_features + 1:
        raise ValueError(
            f"row_ptr must have out + 1 = {out_features + 1} entries, got {row_ptr.numel()}"
        )
    if col.is_meta:
        return
    ends = int(row_ptr[0]), int(row_ptr[-1])
    if ends != (0, col.numel()):
        raise ValueError(
            f"row_ptr must run from 0 to nnz = {col.numel()}, got {ends[0]} to {ends[1]}"
        )
    if (bad := _first(row_ptr[1:] < row_ptr[:-1])) is not None:
        raise ValueError(
            f"row_ptr must not decrease, but row_ptr[{bad}] = {int(row_ptr[bad])} "
            f"and row_ptr[{bad + 1}] = {int(row_ptr[bad + 1])}"
        )
    for start in range(0, col.numel(), _BLOCK):
        _check_columns(row_ptr, col, in_features, start)


def _check_columns(row_ptr: Tensor, col: Tensor, in_features: int, start: int) -> None:
    """Check the columns from `start` on, a block and the one after it."""
    some = col[start : start + _BLOCK + 1]
    if (bad := _first((some < 0) | (some >= in_features))) is not None:
        bad += start
        raise ValueError(f"col[{bad}] = {int(col[bad])} is outside [0, {in_features})")
    # A column may only fall back where a new row begins.
    ascending = some[1:] > some[:-1]
    bounds = row_ptr.new_tensor([start + 1, start + some.numel()])
    first, last = torch.searchsorted(row_ptr, bounds).tolist()
    ascending[row_ptr[first:last].long() - (start + 1)] = True
    if (bad := _first(~ascending)) is not None:
        bad += start
        raise ValueError(
            f"columns must ascend within a row without duplicates, "
            f"but col[{bad}] = {int(col[bad])} and col[{bad + 1}] = {int(col[bad + 1])}"
        )


def _first(condition: Tensor) -> int | None:
    """The index of the first True, or None."""
    return int(condition.int().argmax()) if bool(condition.any()) else None

"""Batches as the kernels of the lanes take them: feature by feature, in blocks (lanes/blocks.h)."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import torch
from torch import Tensor

from sparselayers.backends.native import library
from sparselayers.backends.native.library import threads

# In which type activations are arranged and sums made, where that is not the type of the values.
COMPUTE = {torch.bfloat16: torch.float32}

# A batch of so many is one block, whatever the instruction set.
_ONE_BLOCK = 16


def blocks(batch: int, dtype: torch.dtype) -> int:
    """Into how many blocks the kernels cut the batch: 1 without a call for the smallest ones."""
    return 1 if batch <= _ONE_BLOCK else int(_of(dtype).blocks(batch))


def unit(batch: int, dtype: torch.dtype) -> int:
    """Return how many rows of such a batch a register holds."""
    return int(_of(dtype).unit(batch))


def registers(batch: int, dtype: torch.dtype) -> int:
    """Return how many registers a batch takes: one at most where it takes half of one or less."""
    return int(_of(dtype).pitch(batch)) // unit(batch, dtype)


def arranged(x: Tensor) -> Tensor:
    """Return `x` as kernels take it: arranged where one register holds the batch, else as it is.

    Of one block they read by feature what lies so: it has to have room behind the last feature.
    """
    batch = x.shape[0]
    if batch <= unit(batch, x.dtype):
        return _whole(x)
    lies_by_feature = x.stride(0) == 1 and x.dtype not in COMPUTE
    return _whole(x) if lies_by_feature and blocks(batch, x.dtype) == 1 else x


def _whole(x: Tensor) -> Tensor:
    batch, features = x.shape
    kernels = _of(x.dtype)
    dtype = COMPUTE.get(x.dtype, x.dtype)
    if dtype == x.dtype and _pitch(x, kernels) is not None:
        return x
    pitch = kernels.pitch(batch)
    if pitch == batch:  # no lanes behind the last of the batch, so none behind the last feature
        to = x.new_empty_strided((batch, features), (1, pitch), dtype=dtype)
    else:
        to = x.new_empty(features * pitch, dtype=dtype)
        to = to.as_strided((batch, features), (1, pitch))
    kernels.pack(
        x.data_ptr(),
        *x.stride(),
        batch,
        features,
        to.data_ptr(),
        pitch,
        threads(x.numel()),
    )
    return to


def _pitch(x: Tensor, kernels: SimpleNamespace) -> int | None:
    """The pitch of `x` if kernels can read it as it is: see blocks.h."""
    batch, features = x.shape
    if batch == 0:
        return 1
    batch_stride, pitch = x.stride()
    if batch == 1:
        return pitch if pitch == 1 or features == 1 else None
    if batch_stride != 1 or (pitch < batch and features > 1):
        return None
    lanes = kernels.unit(batch)
    last = x.storage_offset() + (features - 1) * pitch + -(-batch // lanes) * lanes
    if batch % lanes and last * x.element_size() > x.untyped_storage().nbytes():
        return None
    return pitch


@cache
def _of(dtype: torch.dtype) -> SimpleNamespace:
    """The kernels for one type of activations."""
    return library.loops(dtype, "unit", "blocks", "pitch", "pack")

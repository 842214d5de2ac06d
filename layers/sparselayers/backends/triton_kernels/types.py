"""Types of Triton: that sums are added up in, and that count the numbers of a matrix."""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl

from sparselayers.accumulation import wide_type

_INT32_MAX = 2**31 - 1
_TYPES = {torch.float32: tl.float32, torch.float64: tl.float64}


def wide_of(dtype: torch.dtype) -> Any:
    """Return the type to add up numbers of `dtype` in."""
    return _TYPES[wide_type(dtype)]


def offset_type(largest: int) -> Any:
    """Return the type that counts the numbers of the largest matrix."""
    return tl.int32 if largest <= _INT32_MAX else tl.int64

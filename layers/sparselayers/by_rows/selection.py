"""Which of many numbers are the smallest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparselayers.backends.native import library
from sparselayers.by_rows import kernels

_KERNELS = (torch.float32, torch.float64)


def drop_smallest(worth: Tensor, keep: Tensor, count: int) -> None:
    """Set the booleans `keep` (n,) to False for the `count` smallest of `worth` where it is True.

    Of equal ones the first go; a NaN counts as the largest. Where the kernels are missing, or on
    other devices, it is arbitrary which of equal ones go.
    """
    if worth.dtype not in _KERNELS:
        worth = worth.float()
    if worth.device.type == "cpu" and kernels.built():
        worth, kernel = worth.contiguous(), _of(worth, "drop_smallest")
        size = worth.numel()
        kernel(worth.data_ptr(), keep.data_ptr(), size, count, library.threads(size))
        return
    if not bool(keep.all()):
        worth = worth.masked_fill(~keep, torch.inf)
    keep[worth.topk(count, largest=False, sorted=False).indices] = False


def above(numbers: Tensor, bar: float) -> Tensor:
    """Return the places (n,), int64, of the numbers (m,) above a bar, and of those that are NaN."""
    if numbers.dtype not in _KERNELS or numbers.device.type != "cpu" or not kernels.built():
        return (~(numbers <= bar)).nonzero().squeeze(1)
    numbers, places = numbers.contiguous(), torch.empty(numbers.numel(), dtype=torch.int64)
    kernel = _of(numbers, "above")
    return places[: kernel(numbers.data_ptr(), numbers.numel(), bar, places.data_ptr())]


def _of(numbers: Tensor, name: str) -> Any:
    """Return the kernel of that name for numbers of this type."""
    return getattr(library.kernels, f"{name}_{library.SUFFIXES[numbers.dtype]}")

"""Connections as the compiled loops take them, and whether there are any such loops."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparselayers.backends.native import library
from sparselayers.backends.native.told import Told
from sparselayers.connectivity import Connectivity


def built() -> bool:
    """Return whether the kernels were built, and are not those of an older release."""
    return library.kernels is not None and hasattr(library.kernels, "Pattern32")


def serves(*all_of: Connectivity) -> bool:
    """Return whether these connections can be worked on here."""
    return built() and all(each.device.type == "cpu" for each in all_of)


def pattern(connectivity: Connectivity) -> Told:
    """Tell the kernels of connections, for as long as somebody holds what comes back."""
    kernels: Any = library.kernels
    kind = kernels.Pattern64 if connectivity.dtype == torch.int64 else kernels.Pattern32
    row_ptr, col = connectivity.row_ptr, connectivity.col
    kernel = kind(*connectivity.shape, row_ptr.data_ptr(), col.data_ptr())
    return Told(kernel, (row_ptr, col))


def as_type(connectivity: Connectivity, dtype: torch.dtype) -> Connectivity:
    """Return the same connections with indices of that type."""
    if connectivity.dtype == dtype:
        return connectivity
    arrays = connectivity.row_ptr.to(dtype), connectivity.col.to(dtype)
    return Connectivity.trusted(connectivity.shape, *arrays)


def kept_of_rows(connectivity: Connectivity, keep: Tensor) -> Tensor:
    """Return how many connections of each row are kept, (out,)."""
    kept, told = torch.empty_like(connectivity.row_ptr[1:]), pattern(connectivity)
    threads = library.threads(connectivity.nnz)
    told.kernel.kept_of_rows(keep.data_ptr(), kept.data_ptr(), threads)
    return kept


def pointers(counts: Tensor) -> Tensor:
    """Return where each row begins, (out + 1,), for as many connections in each."""
    ptr = counts.new_zeros(counts.numel() + 1)
    torch.cumsum(counts, 0, dtype=counts.dtype, out=ptr[1:])
    return ptr

"""Connections that are merged, and numbers that follow their connections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparselayers.backends.native import library
from sparselayers.by_rows import kernels
from sparselayers.by_rows.kernels import as_type, kept_of_rows, pattern, pointers
from sparselayers.connectivity import Connectivity, index_dtype

_BYTES = (1, 2, 4, 8)  # of the numbers that can be moved


def merged(old: Connectivity, keep: Tensor | None, grown: Connectivity) -> Connectivity:
    """Return those of the connections `old` that the booleans `keep` name (None: all), and `grown`.

    Raises ValueError where both have one at the same place.
    """
    keep = _all(old) if keep is None else keep
    most = old.nnz + grown.nnz
    dtype, threads = index_dtype(old.shape, most), library.threads(most)
    dtype = torch.promote_types(old.dtype, dtype)
    old, grown = as_type(old, dtype), as_type(grown, dtype)
    ptr = pointers(kept_of_rows(old, keep).add_(grown.row_ptr.diff()))
    col = ptr.new_empty(int(ptr[-1]))
    of_old, of_grown = pattern(old), pattern(grown)
    arrays = keep.data_ptr(), of_grown.kernel, ptr.data_ptr(), col.data_ptr()
    if of_old.kernel.merge(*arrays, threads):
        raise ValueError("a connection cannot grow where there is one already")
    return as_type(Connectivity.trusted(old.shape, ptr, col), index_dtype(old.shape, col.numel()))


def none(connectivity: Connectivity) -> Connectivity:
    """Return no connections, of the same shape."""
    row_ptr = torch.zeros_like(connectivity.row_ptr)
    col = row_ptr.new_empty(0)
    return Connectivity.trusted(connectivity.shape, row_ptr, col)


def moves(tensor: Tensor) -> bool:
    """Return whether `carry` can read and write a number for each connection in this tensor."""
    return (
        tensor.device.type == "cpu"
        and tensor.layout == torch.strided
        and type(tensor.detach()) is Tensor
        and tensor.dim() == 1
        and tensor.is_contiguous()
        and tensor.element_size() in _BYTES
        and not tensor.is_neg()
        and not tensor.is_conj()
        and kernels.built()
    )


def carry(old: Connectivity, new: Connectivity, moved: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Write what each first tensor (old nnz,) has for the connections to the second (new nnz,).

    A connection that has grown gets 0. Both may be one tensor, where there are as many.
    """
    old, new = _alike(old, new)
    of_old, of_new = pattern(old), pattern(new)
    of_old.kernel.carry(
        of_new.kernel,
        [source.data_ptr() for source, _ in moved],
        [target.data_ptr() for _, target in moved],
        [source.element_size() for source, _ in moved],
        library.threads(old.nnz + new.nnz),
    )


def places(old: Connectivity, new: Connectivity) -> Tensor:
    """Return where each new connection stood before, (nnz,) int64; −1 for one that has grown."""
    old, new = _alike(old, new)
    found = torch.empty(new.nnz, dtype=torch.int64)
    threads = library.threads(old.nnz + new.nnz)
    of_old, of_new = pattern(old), pattern(new)
    of_old.kernel.find_places(of_new.kernel, found.data_ptr(), threads)
    return found


def _alike(old: Connectivity, new: Connectivity) -> tuple[Connectivity, Connectivity]:
    """Return both with indices of the same type."""
    dtype = torch.promote_types(old.dtype, new.dtype)
    return as_type(old, dtype), as_type(new, dtype)


def _all(connectivity: Connectivity) -> Tensor:
    return torch.ones(connectivity.nnz, dtype=torch.bool)

"""Shown: the copies of a layer's index arrays that others hold, and may write to."""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity


class Shown:
    """Copies of `row_ptr` and `col`, the same ones for as long as anybody holds them.

    Nobody can be asked to count writes to them (`.data`, a collective), so they are compared with
    the connections for as long as they are held; for that is counted who refers to them.
    """

    def __init__(self) -> None:
        self._arrays: tuple[Tensor, Tensor] | None = None
        # What they are compared with, lest it be made anew each time (see connectivity.py).
        self._own: Tensor | None = None

    @property
    def held(self) -> bool:
        """Whether there are any that somebody may have."""
        return self._arrays is not None

    def of(self, connectivity: Connectivity) -> tuple[Tensor, Tensor]:
        """Return `row_ptr` and `col` of the connections, to be held."""
        if self._arrays is None:
            self._own = connectivity.col
            self._arrays = connectivity.row_ptr.clone(), self._own.clone()
        return self._arrays

    def be(self, row_ptr: Tensor, col: Tensor) -> None:
        """Let other arrays be those that are written to."""
        self._arrays = row_ptr, col

    def forget(self) -> None:
        """Let those that are held be nobody's business any more."""
        self._arrays = self._own = None

    def follow(self, old: Connectivity, new: Connectivity) -> None:
        """Show other connections, where there are as many; otherwise forget what is held."""
        if old.nnz != new.nnz:
            self.forget()
        elif self._arrays is not None:
            self._own = new.col
            with torch.no_grad():
                self._arrays[0].copy_(new.row_ptr)
                self._arrays[1].copy_(self._own)

    def written(self, now: Connectivity) -> Connectivity | None:
        """Return what was written to the arrays, None where they are `now`'s; forget if unheld.

        Raises ValueError where that is no topology.
        """
        if self._arrays is None:
            return None
        row_ptr, col = self._arrays
        self._own, found = now.col, None
        if not (_same(row_ptr, now.row_ptr) and _same(col, self._own)):
            found = Connectivity(now.shape, row_ptr.to(now.device), col.to(now.device))
        del row_ptr, col  # references that would count below
        if not _is_held(self._arrays):
            self.forget()
        return found


def _same(shown: Tensor, own: Tensor) -> bool:
    return (
        shown.dtype == own.dtype
        and shown.shape == own.shape
        and torch.equal(shown if shown.device == own.device else shown.to(own.device), own)
    )


def _is_held(arrays: tuple[Tensor, ...]) -> bool:
    """Whether anybody has one of the tensors, or memory of it, beside the tuple they are in."""
    # Counted beside one that nobody has: interpreters differ in what they count, and a compiler
    # that looks at frames counts too.
    alone = _references((torch.empty(0),))[0]
    return any(
        count > least
        for counts in _references(arrays)
        for count, least in zip(counts, alone, strict=True)
    )


def _references(arrays: tuple[Tensor, ...]) -> list[tuple[int, int, int]]:
    """How often each tensor, its implementation and its memory are referred to."""
    return [
        (
            sys.getrefcount(array),
            array._use_count(),  # type: ignore[attr-defined]
            torch._C._storage_Use_Count(array.untyped_storage()._cdata),
        )
        for array in arrays
    ]

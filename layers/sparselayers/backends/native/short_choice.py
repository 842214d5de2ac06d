"""What computes a small call without asking again, where there is such a thing (short.py)."""

from __future__ import annotations

import torch
from torch import Tensor

from sparselayers.backends.base import Backend, Gradients, OneBackward
from sparselayers.backends.native import few, few_bitmaps, nonzero, one_block
from sparselayers.backends.native.bitmaps import Bitmaps
from sparselayers.backends.native.choice import choose
from sparselayers.backends.native.lanes import Lanes
from sparselayers.connectivity import Connectivity

MOST = one_block.MOST  # rows of the largest of batches for which there is


def short_of(batch: int, connectivity: Connectivity, dtype: torch.dtype) -> Backend | None:
    """Return what computes such a batch by the ways that are chosen for it; None for nothing."""
    if not (
        few_bitmaps.is_few(batch)
        or few.is_small(batch, connectivity, dtype)
        or one_block.is_one_block(batch, dtype)
    ):
        return None
    y = choose("y", batch, connectivity, dtype).way
    dx, dweights = choose("backward", batch, connectivity, dtype).ways
    if dx != dweights:
        return None
    forward = _by(y, batch, connectivity, dtype)
    if forward is None or y == dx:
        return forward
    backward = _by(dx, batch, connectivity, dtype)
    # One that arranges the batch leaves it so for the backward pass.
    if backward is None or one_block.OneBlock in (type(forward), type(backward)):
        return None
    return Both(forward, backward)


def _by(way: str, batch: int, connectivity: Connectivity, dtype: torch.dtype) -> Backend | None:
    """Return what computes such a batch by one way."""
    if way == Bitmaps.name:
        is_few = few_bitmaps.is_few(batch)
        return few_bitmaps.kept(batch, connectivity, dtype) if is_few else None
    if way != Lanes.name:
        return None
    if few.is_small(batch, connectivity, dtype):
        return few.Few(batch, connectivity, dtype)
    # Of larger batches inputs that are zero are looked for each time.
    if one_block.is_one_block(batch, dtype) and not nonzero.may_gain(batch, connectivity, dtype):
        return one_block.OneBlock(batch, connectivity, dtype)
    return None


class Both(OneBackward):
    """The forward pass by one way, the gradients by another; both take a batch as it is."""

    name = "native"

    def __init__(self, one: Backend, other: Backend) -> None:
        self._one, self._other = one, other

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Serve what both do."""
        return self._one.supports(device, dtype) and self._other.supports(device, dtype)

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias."""
        return self._one.forward(x, values, bias, connectivity)

    def backward(
        self,
        dy: Tensor,
        x: Tensor | None,
        values: Tensor,
        connectivity: Connectivity,
        *,
        needs: tuple[bool, bool, bool],
    ) -> Gradients:
        """Return the gradients that are needed."""
        return self._other.backward(dy, x, values, connectivity, needs=needs)

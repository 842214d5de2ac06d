"""Layers of which the products are timed, to learn what the ways to compute cost."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from sparselayers.backends.base import Backend
from sparselayers.backends.native.bitmaps import Bitmaps
from sparselayers.backends.native.few_bitmaps import is_few
from sparselayers.backends.native.lanes import Lanes
from sparselayers.backends.native.n_of_m import NOfEight, NOfFour
from sparselayers.backends.native.row_blocks import RowBlocks
from sparselayers.connectivity import Connectivity

Product = Literal["y", "dx", "dweights", "backward"]
PRODUCTS: tuple[Product, ...] = ("y", "dx", "dweights", "backward")

# Ways that have a pass for both gradients.
_ONE_PASS = Lanes.name, RowBlocks.name, NOfFour.name, NOfEight.name


def in_blocks(shape: tuple[int, int], density: float, height: int) -> Tensor:
    """Return connections of some density, of which so many outputs share their inputs."""
    outputs, inputs = shape
    mask = torch.rand(outputs // height, inputs, generator=_seeded()) < density
    return mask.repeat_interleave(height, 0)


def in_groups(shape: tuple[int, int], n: int, m: int) -> Tensor:
    """Return connections of each output to `n` of every `m` inputs."""
    outputs, inputs = shape
    drawn = torch.rand(outputs, inputs // m, m, generator=_seeded())
    return (drawn.argsort(2) < n).view(shape)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class Probe:
    """A layer of connections that are given as a mask, whose products are timed."""

    def __init__(self, mask: Tensor, dtype: torch.dtype) -> None:
        row_ptr = torch.zeros(len(mask) + 1, dtype=torch.int32)
        torch.cumsum(mask.sum(1), 0, out=row_ptr[1:])
        col = mask.nonzero()[:, 1].int()
        self.connectivity = Connectivity.adopt((mask.shape[0], mask.shape[1]), row_ptr, col)
        self.values = torch.randn(col.numel(), generator=_seeded()).to(dtype)
        self.bias = torch.zeros(len(mask), dtype=dtype)

    def calls(self, way: Backend, batch: int) -> dict[Product, Callable[[], Any]]:
        """Return what computes each product by a way."""
        values, connectivity = self.values, self.connectivity
        x = values.new_ones(batch, connectivity.shape[1])
        dy = values.new_ones(batch, connectivity.shape[0])
        backward = partial(way.backward, dy, x, values, connectivity)

        def forward() -> None:
            way.forward(way.arrange(x, connectivity), values, self.bias, connectivity)

        return {
            "y": forward,
            "dx": partial(backward, needs=(True, False, False)),
            "dweights": partial(backward, needs=(False, True, False)),
            **(
                {"backward": partial(backward, needs=(True, True, False))}
                if way.name in _ONE_PASS or (way.name == Bitmaps.name and is_few(batch))
                else {}
            ),
        }

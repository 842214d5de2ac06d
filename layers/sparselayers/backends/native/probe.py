"""Layers of which the products are timed, to learn what the ways to compute cost."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from sparselayers.backends.base import Backend
from sparselayers.connectivity import Connectivity

Product = Literal["y", "dx", "dweights", "backward"]
PRODUCTS: tuple[Product, ...] = ("y", "dx", "dweights", "backward")
Step = dict[Product, Callable[[], Any]]


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

    def step(self, way: Backend, batch: int) -> Step:
        """Return what computes each product by a way, to be called in this order, as a step does.

        What the forward pass has arranged is what the backward pass gets.
        """
        values, connectivity = self.values, self.connectivity
        x = values.new_ones(batch, connectivity.shape[1])
        dy = values.new_ones(batch, connectivity.shape[0])
        arranged = x

        def forward() -> None:
            nonlocal arranged
            arranged = way.arrange(x, connectivity)
            way.forward(arranged, values, self.bias, connectivity)

        def backward(*needs: bool) -> None:
            way.backward(dy, arranged, values, connectivity, needs=(needs[0], needs[1], False))

        return {
            "y": forward,
            "dx": partial(backward, True, False),
            "dweights": partial(backward, False, True),
            "backward": partial(backward, True, True),
        }

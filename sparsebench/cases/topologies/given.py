"""Connections that a user brings: a list of pairs, or a mask. They are random, and no part of them
is prepared for the layer that gets them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import sparselayers as sl
from sparsebench.cases.topologies.registry import OWN, Topology
from sparselayers import Connectivity


def given(bring: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Register a function that returns what a user would give a layer: pairs, or a mask."""

    def draw(
        shape: tuple[int, int], sparsity: float, *, generator: torch.Generator | None = None
    ) -> Connectivity:
        brought = bring(shape, sparsity, generator=generator)
        if brought.dtype == torch.bool:
            return sl.from_mask(brought)
        return sl.from_edges(brought, shape)

    description = (bring.__doc__ or "").splitlines()[0]
    OWN[bring.__name__] = Topology(bring.__name__, draw, description, bring=bring)
    return bring


@given
def edges(
    shape: tuple[int, int], sparsity: float, *, generator: torch.Generator | None = None
) -> Tensor:
    """Connect what a list says, (2, nnz): pairs of output and input, in any order.

    `shape` is (out, in).
    """
    drawn = sl.random(shape, sparsity, generator=generator)
    order = torch.randperm(drawn.nnz, generator=generator)
    return torch.stack((drawn.row[order].long(), drawn.col[order].long()))


@given
def mask(
    shape: tuple[int, int], sparsity: float, *, generator: torch.Generator | None = None
) -> Tensor:
    """Connect where a boolean matrix (out, in) is true.

    `shape` is (out, in).
    """
    return sl.random(shape, sparsity, generator=generator).mask()

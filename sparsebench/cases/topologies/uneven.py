"""Connections whose rows have very different lengths: what a kernel that shares out rows dreads."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsebench.cases.topologies.registry import topology
from sparselayers import Connectivity
from sparselayers.topologies.keys import from_keys, number_of_connections
from sparselayers.topologies.sampling import distinct_in_groups

# Degrees of the k-th longest row ~ k^−0.7: at 4096 rows the longest has 100 times the average.
EXPONENT = 0.7


@topology
def power_law(
    shape: tuple[int, int], sparsity: float, *, generator: torch.Generator | None = None
) -> Connectivity:
    """Connect rows of lengths that fall as a power of their rank, in a random order.

    The k-th longest of the `shape` = (out, in) has about k^−0.7 times as many connections as the
    longest, at most `in`; all together have (1 − sparsity) · out · in.
    """
    weights = torch.arange(1, shape[0] + 1, dtype=torch.float64) ** -EXPONENT
    lengths = _shared(number_of_connections(shape, sparsity), weights, shape[1])
    return _of_lengths(lengths, shape, generator)


@topology
def full_rows(
    shape: tuple[int, int], sparsity: float, *, generator: torch.Generator | None = None
) -> Connectivity:
    """Connect as many rows as there are connections for to every input, and the others to none.

    `shape` is (out, in); one more row takes what does not fill one. Their order is random.
    """
    rows = torch.arange(shape[0])
    lengths = (number_of_connections(shape, sparsity) - rows * shape[1]).clamp(0, shape[1])
    return _of_lengths(lengths, shape, generator)


def _shared(total: int, weights: Tensor, most: int) -> Tensor:
    """Share out `total` in proportion to falling `weights`, `most` to each at most, all of it."""
    lengths = torch.zeros(len(weights), dtype=torch.int64)
    while rest := total - int(lengths.sum()):
        open_ = lengths < most
        share = weights * open_
        more = (share / share.sum() * rest).floor().to(torch.int64)
        if not more.any():
            more[open_.nonzero()[:rest, 0]] = 1
        lengths = (lengths + more).clamp(max=most)
    return lengths


def _of_lengths(
    lengths: Tensor, shape: tuple[int, int], generator: torch.Generator | None
) -> Connectivity:
    """Draw rows of these lengths, in a random order."""
    lengths = lengths[torch.randperm(shape[0], generator=generator)]
    sizes = torch.full_like(lengths, shape[1])
    return from_keys(distinct_in_groups(sizes, lengths, generator), shape)

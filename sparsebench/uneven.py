"""Connections whose rows have very different lengths: what a kernel that shares out rows dreads."""

from __future__ import annotations

import torch
from torch import Tensor

from layers import Connectivity

# Degrees of the k-th longest row ~ k^−0.7: at 4096 rows the longest has 100 times the average.
EXPONENT = 0.7


def power_law(
    shape: tuple[int, int], sparsity: float, *, generator: torch.Generator | None = None
) -> Connectivity:
    """Connect rows of lengths that fall as a power of their rank, in a random order.

    The k-th longest of the `shape` = (out, in) has about k^−0.7 times as many connections as the
    longest, at most `in`; all together have (1 − sparsity) · out · in. Costs O(out · in) time.
    """
    out_features, in_features = shape
    nnz = round((1.0 - sparsity) * out_features * in_features)
    weights = torch.arange(1, out_features + 1, dtype=torch.float64) ** -EXPONENT
    lengths = _shared(nnz, weights, in_features)
    return _of_lengths(lengths[torch.randperm(out_features, generator=generator)], shape, generator)


def full_rows(
    shape: tuple[int, int], sparsity: float, *, generator: torch.Generator | None = None
) -> Connectivity:
    """Connect as many rows as there are connections for to every input, and the others to none.

    `shape` is (out, in); one more row takes what does not fill one. Costs O(out · in) time.
    """
    out_features, in_features = shape
    nnz = round((1.0 - sparsity) * out_features * in_features)
    lengths = torch.zeros(out_features, dtype=torch.int64)
    lengths[: nnz // in_features] = in_features
    if nnz % in_features:
        lengths[nnz // in_features] = nnz % in_features
    return _of_lengths(lengths[torch.randperm(out_features, generator=generator)], shape, generator)


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
    row_ptr = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
    col = [
        torch.randperm(shape[1], generator=generator)[:length].sort().values
        for length in lengths.tolist()
    ]
    return Connectivity(shape, row_ptr.int(), torch.cat(col).int())

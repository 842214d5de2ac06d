"""Choices by score that say of equal scores which go: the first."""

from __future__ import annotations

import torch
from torch import Tensor


def largest(scores: Tensor, count: int) -> Tensor:
    """Return booleans, True for the `count` largest scores."""
    keep = torch.zeros_like(scores, dtype=torch.bool)
    # Only a stable sort says which of equal scores go.
    keep[torch.argsort(scores, stable=True)[scores.numel() - count :]] = True
    return keep


def rank_in_groups(scores: Tensor, groups: Tensor) -> Tensor:
    """Return how many scores of its group are before each one, in ascending order, (n,) int64.

    `groups` (n,) are the ascending numbers of the groups.
    """
    order = torch.argsort(scores, stable=True)
    order = order[torch.argsort(groups[order], stable=True)]
    first = torch.searchsorted(groups, groups)  # where the group of each begins
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(order.numel(), device=order.device) - first
    return ranks


def largest_of_each(scores: Tensor, groups: Tensor, count: int) -> Tensor:
    """Return booleans, True for the `count` largest scores of each group; all of a smaller one."""
    sizes = torch.searchsorted(groups, groups, right=True) - torch.searchsorted(groups, groups)
    return rank_in_groups(scores, groups) >= sizes - count

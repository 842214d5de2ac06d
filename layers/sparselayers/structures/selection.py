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
    return _ranked(scores, torch.unique_consecutive(groups, return_counts=True)[1])


def largest_of_each(scores: Tensor, groups: Tensor, count: int) -> Tensor:
    """Return booleans, True for the `count` largest scores of each group; all of a smaller one."""
    sizes: Tensor = torch.unique_consecutive(groups, return_counts=True)[1]
    return _ranked(scores, sizes) >= sizes.repeat_interleave(sizes) - count


def _ranked(scores: Tensor, sizes: Tensor) -> Tensor:
    """Return the ranks of scores in consecutive groups of these sizes."""
    if bool((sizes == sizes[:1]).all()) and sizes.numel():
        order = scores.view(sizes.numel(), -1).argsort(stable=True, dim=1)
        ranks = torch.arange(order.shape[1], device=order.device).expand_as(order)
        return torch.empty_like(order).scatter_(1, order, ranks).flatten()
    group = torch.arange(sizes.numel(), device=sizes.device).repeat_interleave(sizes)
    order = torch.argsort(scores, stable=True)
    order = order[torch.argsort(group[order], stable=True)]
    first = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    found = torch.empty_like(order)
    found[order] = torch.arange(order.numel(), device=order.device) - first
    return found

"""Links that lead nowhere: of neurons that have lost all links on their other side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from sparselayers.dynamic.site import Site


def without_dead_ends(
    chain: Sequence[str], sites: dict[str, Site], kept: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return `kept` without the links of neurons that nothing reaches, or that reach nothing.

    `chain` names layers of which each takes the outputs of the one before. From the last to the
    first, links go whose output has none in the next layer; then, from the first to the last, those
    whose input had none in the layer before. A layer that would lose all of them keeps them.
    """
    kept = dict(kept)
    pairs = [(a, b) for a, b in pairwise(chain) if a in sites and b in sites]
    for first, second in reversed(pairs):
        alive = _used(sites[second], kept[second], side=1)
        _keep(kept, first, alive[_neurons(sites[first], side=0)])
    for first, second in pairs:
        alive = _used(sites[first], kept[first], side=0)
        _keep(kept, second, alive[_neurons(sites[second], side=1)])
    return kept


def _neurons(site: Site, side: int) -> Tensor:
    """Return the output (side 0) or input (1) of each connection, (nnz,)."""
    columns = site.layer.shape[1]
    return site.present // columns if side == 0 else site.present % columns


def _used(site: Site, kept: Tensor, side: int) -> Tensor:
    used = torch.zeros(site.layer.shape[side], dtype=torch.bool, device=kept.device)
    used[_neurons(site, side)[kept]] = True
    return used


def _keep(kept: dict[str, Tensor], name: str, alive: Tensor) -> None:
    left = kept[name] & alive
    if bool(left.any()):
        kept[name] = left

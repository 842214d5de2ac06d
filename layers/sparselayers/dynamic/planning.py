"""One rewiring: which connections of each layer go, which grow, and that nothing disagrees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from sparselayers.dynamic import shrink
from sparselayers.dynamic.site import Site
from sparselayers.topologies.sampling import ascending


class Rule(Protocol):
    """What a rule says of layers (see `Rewirer`)."""

    regrow_dropped: bool
    check_gradient: bool

    def worth(self, site: Site) -> Tensor:
        """Return what each connection is worth."""

    def importance(self, site: Site, worth: Tensor) -> Tensor:
        """Return the order in which connections are dropped to make room."""

    def percolate(self, sites: dict[str, Site], kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return what is kept of what was not dropped."""

    def grow(self, site: Site, count: int) -> Tensor:
        """Return the keys of connections to grow."""


def planned(
    rule: Rule,
    sites: dict[str, Site],
    share: float,
    sparsity: float | None,
    distribution: shrink.Distribution,
) -> dict[str, Tensor]:
    """Return the ascending keys (of units) that layers are to have, of those that change.

    Down to `sparsity` what is worth least goes for good; of the rest, `share` makes room.

    Raises RuntimeError where ranks, or gradients, do not agree.
    """
    worth = {
        name: site.structure.sums(site.layer.connectivity, rule.worth(site))
        for name, site in sites.items()
    }
    stay = shrink.surviving(sites, worth, sparsity, distribution)
    plans = {}
    for name, changed in _dropped(rule, sites, worth, stay, share).items():
        plans[name] = _grown(rule, name, changed, int(stay[name].sum()))
    return plans


def _dropped(
    rule: Rule,
    sites: dict[str, Site],
    worth: Mapping[str, Tensor],
    stay: Mapping[str, Tensor],
    share: float,
) -> dict[str, Site]:
    """Return the sites of the layers that change, without what is dropped of them."""
    kept = {}
    for name, site in sites.items():
        remaining = int(stay[name].sum())
        count = min(int(share * remaining), site.places - site.present.numel())
        kept[name] = stay[name]
        if count:
            importance = rule.importance(site, worth[name])
            if remaining < importance.numel():
                importance = importance.masked_fill(~kept[name], torch.inf)
            may_go = site.structure.replaceable(site.layer.shape, importance)
            if may_go is not None:
                importance = importance.masked_fill(~may_go, torch.inf)
                count = min(count, int(may_go.sum()))
            kept[name] = kept[name].clone()
            kept[name][importance.topk(count, largest=False, sorted=False).indices] = False
    kept = rule.percolate(sites, kept)
    changed = {}
    for name, site in sites.items():
        if not bool(kept[name].all()):
            keys = site.present[kept[name]]
            grown = int(stay[name].sum()) - keys.numel()
            tight = rule.regrow_dropped or grown > site.places - site.present.numel()
            changed[name] = replace(site, kept=keys, taken=keys if tight else site.present)
    return changed


def _grown(rule: Rule, name: str, site: Site, total: int) -> Tensor:
    """Return the keys that a layer is to have, `total` of them."""
    missing = total - site.kept.numel()
    grown = rule.grow(site, missing) if missing else site.kept[:0]
    if grown.shape != (missing,):
        raise RuntimeError(
            f"layer {name!r}: {type(rule).__name__}.grow returned {tuple(grown.shape)} keys, "
            f"where {missing} connections are to grow"
        )
    new = ascending(torch.cat((site.kept, grown)))
    if rule.check_gradient and (off := site.agreement.difference()) > 1:
        raise RuntimeError(_DISAGREE.format(name=name, off=off))
    site.ranks.check(f"layer {name!r}: new connections", new)
    return new


_DISAGREE = (
    "layer {name!r}: what went through the layer does not add up to the gradient of its weights "
    "(they differ by {off:.3g} times what rounding explains), so nobody knows where connections "
    "should grow. Gradients have to be zeroed after every step; penalties on the weights belong "
    "into the optimizer (weight_decay); `layer.weight` must not be used for products in place of "
    "the layer; and `weights.grad` must not be written by hand but to scale or clip it. With "
    "check_gradient=False connections grow by what went through the layer"
)

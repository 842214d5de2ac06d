"""One rewiring: which connections of each layer go, which grow, and that nothing disagrees."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from sparselayers import by_rows
from sparselayers.connectivity import Connectivity
from sparselayers.dynamic import shrink
from sparselayers.dynamic.site import Site


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

    def grow(self, site: Site, count: int) -> Tensor | Connectivity:
        """Return the keys of connections to grow, or these themselves."""


def planned(
    rule: Rule,
    sites: dict[str, Site],
    share: float,
    sparsity: float | None,
    distribution: shrink.Distribution,
) -> dict[str, Connectivity]:
    """Return the connections that layers are to have, of those that change.

    Down to `sparsity` what is worth least goes for good; of the rest, `share` makes room. `sites`
    is empty afterwards.

    Raises RuntimeError where ranks, or gradients, do not agree, or a rule does not return a number
    for each connection, and ValueError where one grows what is there.
    """
    worth = {}
    if sparsity is not None:
        worth = {name: _worth(rule, name, site) for name, site in sites.items()}
    keep = shrink.surviving(sites, worth, sparsity, distribution)
    totals = {name: int(each.count_nonzero()) for name, each in keep.items()}
    for name, site in sites.items():
        count = min(int(share * totals[name]), site.places - site.number)
        if count:
            keep[name] = _without(rule, name, site, worth.pop(name, None), keep[name], count)
    keep = rule.percolate(sites, keep)
    for name, site in sites.items():
        _check(rule, name, "percolate", keep.get(name), site.number, torch.bool)
    plans = {}
    for name in list(sites):
        site, kept = sites.pop(name), keep.pop(name)
        if not bool(kept.all()):
            grown = totals[name] - int(kept.count_nonzero())
            tight = rule.regrow_dropped or grown > site.places - site.number
            plans[name] = _grown(rule, name, site.without_dropped(kept, regrows=tight), grown)
    return plans


def _worth(rule: Rule, name: str, site: Site) -> Tensor:
    connectivity, worth = site.layer.connectivity, rule.worth(site)
    _check(rule, name, "worth", worth, connectivity.nnz)
    return site.structure.sums(connectivity, worth)


def _check(
    rule: Rule, name: str, said: str, given: object, size: int, dtype: torch.dtype | None = None
) -> None:
    """Raise RuntimeError where what a rule says is not of one number for each connection."""
    if isinstance(given, Tensor):
        kind = not given.is_complex() if dtype is None else given.dtype == dtype
        if kind and given.shape == (size,):
            return
    got = f"{tuple(given.shape)} of {given.dtype}" if isinstance(given, Tensor) else repr(given)
    numbers = "booleans" if dtype == torch.bool else "real numbers"
    raise RuntimeError(
        f"layer {name!r}: {type(rule).__name__}.{said} must be {size} {numbers}, one for each "
        f"connection, got {got}"
    )


def _without(
    rule: Rule, name: str, site: Site, worth: Tensor | None, keep: Tensor, count: int
) -> Tensor:
    """Return what is kept without the `count` that matter least."""
    importance = rule.importance(site, _worth(rule, name, site) if worth is None else worth)
    _check(rule, name, "importance", importance, site.number)
    ranked = importance if bool(keep.all()) else importance.masked_fill(~keep, torch.inf)
    may_go = site.structure.replaceable(site.layer.shape, ranked)
    if may_go is None:
        by_rows.drop_smallest(importance, keep, count)
        return keep
    may_go &= keep
    stays = may_go.clone()
    by_rows.drop_smallest(importance, stays, min(count, int(may_go.count_nonzero())))
    return keep & (stays | ~may_go)


def _grown(rule: Rule, name: str, site: Site, missing: int) -> Connectivity:
    """Return the connections that a layer is to have, with `missing` of them grown."""
    grown = rule.grow(site, missing) if missing else site.nothing
    shape = (grown.nnz,) if isinstance(grown, Connectivity) else tuple(grown.shape)
    if shape != (missing,):
        raise RuntimeError(
            f"layer {name!r}: {type(rule).__name__}.grow returned {shape} keys, "
            f"where {missing} connections are to grow"
        )
    grid = site.structure.grid(site.layer.shape)
    if isinstance(grown, Connectivity) and grown.shape != grid:
        raise RuntimeError(
            f"layer {name!r}: {type(rule).__name__}.grow returned connections of shape "
            f"{grown.shape}, where the layer has {grid}"
        )
    if rule.check_gradient and (off := site.agreement.difference()) > 1:
        raise RuntimeError(_DISAGREE.format(name=name, off=off))
    site.agreement.forget()
    site.layer.connectivity.forget()
    try:
        new = site.with_grown(grown)
    except ValueError as error:
        raise ValueError(
            f"layer {name!r}: {type(rule).__name__}.grow must return connections that are not in "
            f"`site.taken`, each once: {error}"
        ) from error
    site.ranks.check(f"layer {name!r}: new connections", new.row_ptr, new.col)
    return new


_DISAGREE = (
    "layer {name!r}: what went through the layer does not add up to the gradient of its weights "
    "(they differ by {off:.3g} times what rounding explains), so nobody knows where connections "
    "should grow. Gradients have to be zeroed after every step; penalties on the weights belong "
    "into the optimizer (weight_decay); `layer.weight` must not be used for products in place of "
    "the layer; and `weights.grad` must not be written by hand but to scale or clip it. With "
    "check_gradient=False connections grow by what went through the layer"
)

"""Which connections stay where a rewired model becomes sparser."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from sparselayers.dynamic.site import Site
from sparselayers.structures.selection import largest

Distribution = Literal["uniform", "global"]


def surviving(
    sites: dict[str, Site],
    worth: dict[str, Tensor],
    sparsity: float | None,
    distribution: Distribution,
) -> dict[str, Tensor]:
    """Return for each layer which connections stay, booleans (nnz,), where all make `sparsity`.

    All of them where it is None, and of layers that are sparser. `worth` has a number for each
    connection, or for each unit of a structure; it is asked for where there is a `sparsity`. The
    most valuable one of each layer stays in any case.
    """
    if sparsity is None or not sites:
        return {
            name: torch.ones(site.number, dtype=torch.bool, device=site.layer.weights.device)
            for name, site in sites.items()
        }
    places = {name: site.places for name, site in sites.items()}
    if distribution == "uniform":
        return {
            name: largest(w, min(w.numel(), max(1, round((1.0 - sparsity) * places[name]))))
            for name, w in worth.items()
        }
    wide = [w.double() for w in worth.values()]
    for w in wide:
        w[w.argmax()] = torch.inf
    count = max(len(wide), round((1.0 - sparsity) * sum(places.values())))
    every = torch.cat(wide)
    keep = largest(every, min(every.numel(), count))
    return dict(zip(worth, torch.split(keep, [w.numel() for w in wide]), strict=True))

"""Topologies of other distributions: loaded when they are drawn, and what they draw is checked."""

from __future__ import annotations

import torch

from sparsebench.cases.topologies.registry import Draw, Topology
from sparsebench.extensions import Extension, Unusable
from sparselayers import Connectivity

_FEW = 0.05  # of the connections asked for: so many more or fewer there may be


def brought(extension: Extension) -> Topology:
    """Return the topology that `extension` names; one that cannot be used says why."""
    try:
        return Topology.of(extension.name, _checked(extension))
    except Unusable as why:
        return Topology(extension.name, _undrawable(str(why)), "", missing=str(why))


def _checked(extension: Extension) -> Draw:
    """Return the function of another distribution, with a check of what it draws."""
    function = extension.load()
    if not callable(function):
        raise Unusable(
            f"{extension.owner} brings it, and it is no function (shape, sparsity, *, generator) "
            f"but a {type(function).__name__}"
        )

    def draw(
        shape: tuple[int, int], sparsity: float, *, generator: torch.Generator | None = None
    ) -> Connectivity:
        made = function(shape, sparsity, generator=generator)
        if not isinstance(made, Connectivity):
            raise ValueError(f"it drew no Connectivity but a {type(made).__name__}")
        if made.shape != shape:
            raise ValueError(f"it drew connections of shape {made.shape}, asked for {shape}")
        wanted = round((1.0 - sparsity) * shape[0] * shape[1])
        if abs(made.nnz - wanted) > _FEW * wanted + 1:
            raise ValueError(f"it drew {made.nnz} connections, asked for {wanted}")
        return made

    draw.__doc__ = function.__doc__
    return draw


def _undrawable(why: str) -> Draw:
    def draw(*_: object, **__: object) -> Connectivity:
        raise ValueError(why)

    return draw

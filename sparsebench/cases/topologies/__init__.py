"""The ways to draw connections, by the names that sweeps and filters know them by.

All that the library draws from a shape and a sparsity alone, those that a file of this folder
registers, and those of other distributions. A new one is a function with a decorator, wherever it
is: `@drawn` of `sparselayers.topologies` in the library, `@topology` in a file here.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module

import torch
from torch import Tensor

from sparsebench import extensions
from sparsebench.cases.case import Case
from sparsebench.cases.topologies.brought import brought
from sparsebench.cases.topologies.registry import OWN, Topology, named, topology
from sparsebench.extensions import Registry
from sparselayers import Connectivity

__all__ = ["TOPOLOGIES", "Topology", "Undrawable", "draw", "named", "ready", "topology"]

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

TOPOLOGIES: Registry[Topology] = Registry(extensions.TOPOLOGIES, OWN, brought)


class Undrawable(Exception):  # noqa: N818 — an answer about a case, and no error of ours
    """The topology has no such connections, or cannot be used; the message says why."""


def ready(case: Case) -> Callable[[], Connectivity | Tensor]:
    """Return what brings the connections of `case` each time a layer is made.

    It draws them from the seed of the case; where a user lists them, the list is there before.
    """
    topology = TOPOLOGIES[case.topology]
    if topology.bring is None:
        return lambda: draw(case, torch.Generator().manual_seed(case.seed))
    shape, generator = (case.out_features, case.columns), torch.Generator().manual_seed(case.seed)
    brought = topology.bring(shape, case.sparsity, generator=generator).to(case.device)
    return lambda: brought


def draw(case: Case, generator: torch.Generator) -> Connectivity:
    """Return the connections of `case`, drawn from `generator`.

    Raises Undrawable, with the topology's own reason, where it has none such.
    """
    shape = case.out_features, case.columns
    try:
        return TOPOLOGIES[case.topology].draw(shape, case.sparsity, generator=generator)
    except ValueError as error:
        raise Undrawable(f"topology {case.topology}: {error}") from error

"""Connections with a structure: in blocks, N of every M, and as many for every output.

They are drawn as `sparselayers.structures` draws them. A case says how sparse it is: what a
structure cannot come close to is no such case.
"""

from __future__ import annotations

from functools import partial

import torch

from sparsebench.cases.topologies.registry import Draw, named
from sparselayers import Connectivity, structures

# The names of structures, by those of topologies: "8x1" alone would say nothing.
STRUCTURED: dict[str, str] = {
    **{f"blocks-{size}": size for size in ("4x1", "8x1", "16x1", "16x16", "32x32")},
    **{name: name for name in ("1:4", "2:4", "2:8", "fan-in")},
}

UNSTRUCTURED = structures.Unstructured().name

_CLOSE = 0.025  # by how much of the connections asked for their number may differ


def check(structure: structures.Structure, shape: tuple[int, int], sparsity: float) -> None:
    """Raise ValueError where a layer of `shape` with a structure cannot be about as sparse."""
    nearest = structure.nearest(shape, sparsity)
    if abs(nearest - sparsity) > _CLOSE * (1.0 - sparsity):
        raise ValueError(
            f"the nearest sparsity of a layer of shape {shape} is {nearest:.6g}, got {sparsity:.6g}"
        )


def _drawing(name: str) -> Draw:
    structure = structures.named(name)

    def draw(
        shape: tuple[int, int], sparsity: float, *, generator: torch.Generator | None = None
    ) -> Connectivity:
        check(structure, shape, sparsity)
        return structure.draw(shape, sparsity, generator=generator)

    draw.__doc__ = _described(structure)
    return draw


def _described(structure: structures.Structure) -> str:
    if isinstance(structure, structures.Blocks):
        return (
            f"Connect blocks of {structure.rows} outputs × {structure.cols} "
            f"input{'s' * (structure.cols > 1)}, drawn uniformly."
        )
    if isinstance(structure, structures.NofM):
        return (
            f"Connect each output to {structure.n} of every {structure.m} inputs: "
            f"{1 - structure.n / structure.m:.0%} sparse."
        )
    return "Connect every output to as many inputs as any other, drawn uniformly."


for _topology, _name in STRUCTURED.items():
    named(_topology, partial(check, structures.named(_name)))(_drawing(_name))

"""Which layers and topologies there are to measure, and which of the sweeps cover them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sparsebench.cases import sweep
from sparsebench.cases.grid import Grid
from sparsebench.cases.topologies import TOPOLOGIES
from sparsebench.cases.weights import PREFIX


@dataclass(frozen=True)
class Layer:
    """A layer of the library: what it is in a line, and whether a grid measures it."""

    name: str
    description: str
    asked: Callable[[Grid], bool]


def _of(operation: str) -> Callable[[Grid], bool]:
    return lambda grid: (
        grid.operation == operation and bool(grid.sparsity or grid.files) and _by("ours")(grid)
    )


def _by(*implementations: str) -> Callable[[Grid], bool]:
    return lambda grid: bool(set(implementations).intersection(grid.implementation))


LAYERS: tuple[Layer, ...] = (
    Layer("SparseLinear", "y = x Wᵀ + b with the weights that exist alone", _of("linear")),
    Layer("SparseConv2d", "the same for windows of images", _of("conv2d")),
    Layer(
        "SparseConv1d",
        "of sequences: a SparseConv2d of images one pixel high",
        _of("conv2d"),
    ),
    Layer(
        "SparseMultiheadAttention",
        "attention whose four projections are SparseLinear",
        _of("linear"),
    ),
    Layer("KWinners", "of many units the k strongest alone speak", _of("k_winners")),
    Layer("KWinners2d", "the same for images", lambda g: bool(_of("k_winners")(g) and g.image)),
    Layer("RigL", "connections that move to where the gradient is largest", _by("rigl")),
    Layer("SET", "connections that move anywhere", _by("set")),
)

Sweeps = Mapping[str, tuple[Grid, ...]]


def shipped() -> Sweeps:
    """Return the grids of every sweep that the suite ships, by name: default first."""
    names = sorted(sweep.names(), key=lambda name: (name != "default", name))
    loaded = {name: sweep.load(name) for name in names}
    return {name: (asked.grid, *asked.include) for name, asked in loaded.items()}


def of_layer(layer: Layer, sweeps: Sweeps) -> list[str]:
    """Return the names of the sweeps that measure `layer`."""
    return [name for name, grids in sweeps.items() if any(map(layer.asked, grids))]


def of_topologies(sweeps: Sweeps) -> dict[str, list[str]]:
    """Return the names of the sweeps by the topology that they measure, and those of files."""
    found: dict[str, list[str]] = {name: [] for name in (*TOPOLOGIES, PREFIX)}
    for name, grids in sweeps.items():
        drawn = [t for g in grids if g.sparsity is not None for t in g.topology]
        asked = {PREFIX if t.startswith(PREFIX) else t for t in drawn}
        asked |= {PREFIX for grid in grids if grid.files}
        for topology in asked:
            found[topology].append(name)
    return found

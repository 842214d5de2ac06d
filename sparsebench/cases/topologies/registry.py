"""What registers a way to draw connections, and what is known of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from sparselayers import Connectivity
from sparselayers.topologies import DRAWN

Draw = Callable[..., Connectivity]
Check = Callable[[tuple[int, int], float], None]


@dataclass(frozen=True)
class Topology:
    """A way to draw connections: `draw(shape, sparsity, generator=…)` returns a Connectivity.

    It raises ValueError, with what is allowed, for what it cannot draw. `description` is a line for
    `sparsebench list`, `missing` why it cannot be used here. Where a user lists the connections,
    `bring`, called alike, returns what is given to the layer. Where it is known without drawing
    what cannot be drawn, `check(shape, sparsity)` raises the ValueError of `draw`.
    """

    name: str
    draw: Draw
    description: str
    missing: str = ""
    bring: Callable[..., Tensor] | None = None
    check: Check | None = None

    @classmethod
    def of(cls, name: str, draw: Draw, check: Check | None = None) -> Topology:
        """Return the topology of a function, described by the first line of its docstring."""
        lines = (draw.__doc__ or "").strip().splitlines()
        return cls(name, draw, lines[0] if lines else "", check=check)


OWN: dict[str, Topology] = {name: Topology.of(name, draw) for name, draw in DRAWN.items()}


def topology(draw: Draw) -> Draw:
    """Register a function under its name."""
    return named(draw.__name__)(draw)


def named(name: str, check: Check | None = None) -> Callable[[Draw], Draw]:
    """Register a function under `name`. Raises ValueError where another one has it."""

    def register(draw: Draw) -> Draw:
        if name in OWN:
            raise ValueError(f"two topologies are called {name!r}")
        OWN[name] = Topology.of(name, draw, check)
        return draw

    return register

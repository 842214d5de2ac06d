"""The names that fields of a case can have, known without importing what they name."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sparsebench import extensions
from sparsebench.cases.topologies import TOPOLOGIES

_COMPETITORS = Path(__file__).parents[1] / "implementations"


@cache
def implementations() -> tuple[str, ...]:
    """Return the names of the competitors: dense, the other files of `implementations/`, the rest.

    The rest are those that other distributions bring.
    """
    names = {path.stem for path in _COMPETITORS.glob("*.py")} - {"__init__", "base"}
    own = tuple(sorted(names, key=lambda name: (name != "dense", name)))
    return own + extensions.usable(extensions.IMPLEMENTATIONS, own)


def topologies() -> tuple[str, ...]:
    """Return the names of the ways to draw connections: random first."""
    return tuple(sorted(TOPOLOGIES, key=lambda name: name != "random"))

"""The names that fields of a case can have, known without importing what they name."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sparsebench.cases.problem import TOPOLOGIES

_COMPETITORS = Path(__file__).parents[1] / "implementations"


@cache
def implementations() -> tuple[str, ...]:
    """Return the names of the competitors, each one file in `implementations/`: dense first."""
    names = {path.stem for path in _COMPETITORS.glob("*.py")} - {"__init__", "base"}
    return tuple(sorted(names, key=lambda name: (name != "dense", name)))


def topologies() -> tuple[str, ...]:
    """Return the names of the ways to draw connections."""
    return tuple(TOPOLOGIES)

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
    own = _own_implementations()
    return own + extensions.usable(extensions.IMPLEMENTATIONS, own)


def refused(name: str) -> str:
    """Say why a name that other distributions bring means nothing; "" where none brings it so."""
    of_implementations = extensions.sorted_out(extensions.IMPLEMENTATIONS, _own_implementations())
    reasons = (e.refused for e in (*of_implementations, *TOPOLOGIES.refused) if e.name == name)
    return next(filter(None, reasons), "")


@cache
def _own_implementations() -> tuple[str, ...]:
    # Those that say so: the folder has files of what several share, too.
    files = _COMPETITORS.glob("*.py")
    names = {p.stem for p in files if f'    name = "{p.stem}"' in p.read_text("utf-8")}
    return tuple(sorted(names, key=lambda name: (name != "dense", name)))


def topologies() -> tuple[str, ...]:
    """Return the names of the ways to draw connections: random first."""
    return tuple(sorted(TOPOLOGIES, key=lambda name: name != "random"))

"""The topologies that are drawn from a shape and a sparsity alone, by the names of their functions.

Each registers itself where it is defined; who wants all of them, as a benchmark does, asks here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sparselayers.connectivity import Connectivity

DRAWN: dict[str, Callable[..., Connectivity]] = {}

F = TypeVar("F", bound=Callable[..., Connectivity])


def drawn(function: F) -> F:
    """Register `function(shape, sparsity, *, generator)` under its name.

    Raises ValueError where another function has that name.
    """
    name = function.__name__
    if DRAWN.setdefault(name, function) is not function:
        raise ValueError(f"two topologies are called {name!r}: in {DRAWN[name].__module__} too")
    return function

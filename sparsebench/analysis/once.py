"""What tables and plots ask of the same points again and again, computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

from sparsebench.analysis.point import Point

T = TypeVar("T")


def once(compute: Callable[[Sequence[Point]], T]) -> Callable[[Sequence[Point]], T]:
    """Keep what is computed of points with the first of them: for as long as that is there."""

    @wraps(compute)
    def known(points: Sequence[Point]) -> T:
        if not points:
            return compute(points)
        key = (compute, *points)
        kept: dict[object, T] = points[0].kept
        if key not in kept:
            kept[key] = compute(points)
        return kept[key]

    return known


def keep(compute: Callable[[Sequence[Point]], T], points: Sequence[Point], value: T) -> None:
    """Keep what `compute`, made by `once`, would find of at least one point."""
    points[0].kept[cast(Any, compute).__wrapped__, *points] = value

"""Which of many points are drawn: as many panels as can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from sparsebench.analysis.grouping import group
from sparsebench.analysis.order import sizes
from sparsebench.analysis.point import Point

T = TypeVar("T")

_PANELS = 6  # along a side of a figure: of more sizes, or batches, each would be too small to read


def curves(points: Sequence[Point]) -> Sequence[Point]:
    """Return the points to draw in a panel for each layer: of many, those with most sparsities.

    Of sizes and batches that are still many some are drawn, from the smallest to the largest: the
    tables have all.
    """
    if len(sizes(points)) > _PANELS:
        layers = group(points, "size", "batch")
        counts = {key: len({p.case.sparsity for p in members}) for key, members in layers.items()}
        most = max(counts.values())
        points = [p for key, members in layers.items() if counts[key] == most for p in members]
    widths = set(_spread(sizes(points)))
    batches = set(_spread(sorted({p.case.batch for p in points})))
    return [p for p in points if p.size in widths and p.case.batch in batches]


def _spread(values: Sequence[T]) -> list[T]:
    """Return at most _PANELS of `values`, evenly from the first to the last."""
    if len(values) <= _PANELS:
        return list(values)
    return [values[round(n * (len(values) - 1) / (_PANELS - 1))] for n in range(_PANELS)]

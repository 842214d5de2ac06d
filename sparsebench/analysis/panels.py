"""Which of many points are drawn: as many panels as can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from sparsebench.analysis.grouping import group
from sparsebench.analysis.order import sizes
from sparsebench.analysis.point import Point

T = TypeVar("T")

_SIDE = 6  # panels along a side of a figure: of more sizes, or batches, each is too small to read
_MANY = 20  # panels of some of them, which would take seconds to draw, and longer to look through
_FEW = 4  # along a side, where they would be so many


def curves(points: Sequence[Point]) -> Sequence[Point]:
    """Return the points to draw in a panel for each layer: of many, those with most sparsities.

    Of sizes and batches that are still many some are drawn, from the smallest to the largest: the
    tables have all.
    """
    if len(sizes(points)) > _SIDE:
        layers = group(points, "size", "batch")
        counts = {key: len({p.case.sparsity for p in members}) for key, members in layers.items()}
        most = max(counts.values())
        points = [p for key, members in layers.items() if counts[key] == most for p in members]
    every, several = sizes(points), sorted({p.case.batch for p in points})
    widths, batches = _spread(every, _SIDE), _spread(several, _SIDE)
    reduced = len(widths) < len(every) or len(batches) < len(several)
    if reduced and len(widths) * len(batches) > _MANY:
        widths, batches = _spread(every, _FEW), _spread(several, _FEW)
    shown = set(widths), set(batches)
    return [p for p in points if p.size in shown[0] and p.case.batch in shown[1]]


def _spread(values: Sequence[T], most: int) -> list[T]:
    """Return at most so many of `values`, evenly from the first to the last."""
    if len(values) <= most:
        return list(values)
    return [values[round(n * (len(values) - 1) / (most - 1))] for n in range(most)]

"""Which points are known less well than asked."""

from __future__ import annotations

from collections.abc import Iterable

from sparsebench.analysis.estimates import Estimate
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.point import Point

FEWEST = 5  # rounds, before an interval that happens to be narrow is taken for one


def imprecise(points: Iterable[Point], precision: float) -> list[Point]:
    """Return the points whose 95% interval reaches further from its value than `precision`.

    That of the speed-up over dense, or of the time where dense was not timed. The share is of the
    value: 0.05 is from 1/1.05 of it to 1.05 times it. What the value is plays no part. Nor is a
    point precise enough that has fewer rounds than FEWEST: who stops at the first narrow interval
    stops where it is too narrow by chance.
    """
    return [p for p in points if p.ok and not (_rounds(p) and _narrow(_interval(p), precision))]


def _rounds(point: Point) -> bool:
    return len(point.rounds.logs) >= FEWEST


def _interval(point: Point) -> Estimate | None:
    speedup = METRICS["speedup"].of(point)
    ratio = speedup is not None and speedup.low != speedup.high  # dense over itself is exactly 1
    return speedup if ratio else METRICS["time"].of(point)


def _narrow(found: Estimate | None, precision: float) -> bool:
    if found is None or not found.known:
        return found is None
    return max(found.high / found.value, found.value / found.low) <= 1 + precision

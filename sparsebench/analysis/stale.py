"""Points of older software among newer ones: named, so that nobody takes them for new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sparsebench.analysis.point import Point
from sparsebench.records import software


def stale(points: Sequence[Point]) -> list[str]:
    """Return a line for each state of the shared software that is not a machine's newest.

    Ratios are taken within one state, so that these points are right; but of another time.
    """
    newest: dict[str, Point] = {}
    for point in sorted(points, key=lambda point: point.record.started):
        newest[point.machine] = point
    counts: Counter[str] = Counter()
    for point in points:
        told, now = (p.record.software for p in (point, newest[point.machine]))
        shared = [{name: each.get(name, "") for name in software.SHARED} for each in (told, now)]
        if changes := software.differences(*shared):
            counts["; ".join(changes)] += 1
    return [
        f"{count} of {len(points)} points were measured with other software than the newest: {what}"
        for what, count in counts.items()
    ]

"""Points of older software among newer ones: named, so that nobody takes them for new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sparsebench.analysis.point import Point
from sparsebench.records import Record, software


def stale(points: Sequence[Point]) -> list[str]:
    """Return a line for each state of the shared software that is not a machine's newest.

    Ratios are taken within one state, so that these points are right; but of another time.
    """
    newest: dict[str, Point] = {}
    for point in sorted(points, key=lambda point: point.record.started):
        newest[point.machine] = point
    counts: Counter[str] = Counter()
    known: dict[tuple[int, str], str] = {}  # points of a state of a machine share its fingerprint
    for point in points:
        key = id(point.record.machine), point.machine
        if (changes := known.get(key)) is None:
            changes = known[key] = _changes(point.record, newest[point.machine].record)
        if changes:
            counts[changes] += 1
    return [
        f"{count} of {len(points)} points were measured with other software than the newest: {what}"
        for what, count in counts.items()
    ]


def _changes(told: Record, now: Record) -> str:
    """Return in words what both sides of a ratio have to share, and these records do not."""
    names = software.SHARED
    shared = [{name: record.software.get(name, "") for name in names} for record in (told, now)]
    return "; ".join(software.differences(*shared))

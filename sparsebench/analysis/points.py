"""Records made findable: one per case and machine, each beside the others of its problem."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sparsebench.analysis.machines import identity as identity_of
from sparsebench.analysis.machines import machine_names
from sparsebench.analysis.order import in_order
from sparsebench.analysis.point import Point, Rivals
from sparsebench.records import Record, software


def points(records: Iterable[Record]) -> list[Point]:
    """Return the newest record of every case on every machine as points, in a fixed order.

    Rivals share the software that all implementations stand on, too: after an upgrade of torch
    those that were measured before stay each other's.
    """
    ordered = sorted(records, key=_started)
    newest = {(identity_of(r.machine), r.case.key): r for r in ordered}
    names = machine_names({identity_of(r.machine): r.machine for r in newest.values()}.values())
    problems: dict[tuple[Any, ...], Rivals] = defaultdict(Rivals)
    for record in ordered:
        identity = identity_of(record.machine)
        rivals = problems[identity, software.shared(record.software), *record.case.problem]
        rivals[record.case.implementation] = Point(record, names[identity], rivals)
    every = (p for rivals in problems.values() for p in rivals.values())
    shown = (p for p in every if newest[identity_of(p.record.machine), p.case.key] is p.record)
    return in_order(list(shown))


def forget(points: Iterable[Point]) -> None:
    """Let go of points that nobody else has.

    They refer to each other: they, and their records, would stay until garbage is collected.
    """
    for rivals in {id(point.rivals): point.rivals for point in points}.values():
        for point in rivals.values():
            vars(point).clear()


def _started(record: Record) -> str:
    return record.started

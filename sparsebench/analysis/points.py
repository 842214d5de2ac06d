"""Records made findable: one per case and machine, each beside the others of its problem."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sparsebench.analysis.machines import identity as identity_of
from sparsebench.analysis.machines import machine_names
from sparsebench.analysis.order import in_order
from sparsebench.analysis.point import Point, Rivals
from sparsebench.records import Record, medians, software


def points(records: Iterable[Record]) -> list[Point]:
    """Return the newest record of every case on every machine as points, in a fixed order.

    Rivals share the software that all implementations stand on, too: after an upgrade of torch
    those that were measured before stay each other's.
    """
    ordered = sorted(records, key=_started)
    medians.work_out(ordered)
    known = {id(record.machine): record for record in ordered}  # as many as were read apart
    machines = {identity_of(record.machine): record.machine for record in known.values()}
    names = machine_names(machines.values())
    told = {
        key: (identity := identity_of(one.machine), names[identity], software.shared(one.software))
        for key, one in known.items()
    }
    problems: dict[tuple[Any, ...], _Problem] = {}
    for record in ordered:
        identity, name, shared = told[id(record.machine)]
        case = record.case
        if (found := problems.get(key := (identity, case.problem))) is None:
            found = problems[key] = _Problem({}, {})
        if (rivals := found.rivals.get(shared)) is None:
            rivals = found.rivals[shared] = Rivals()
        point = Point(record, name, rivals)
        rivals[case.implementation] = found.newest[case.implementation] = point
    return in_order(list(problem.newest.values()) for problem in problems.values())


class _Problem(NamedTuple):
    """What was measured of a problem on a machine: by the software it shares, and the newest."""

    rivals: dict[tuple[str, ...], Rivals]
    newest: dict[str, Point]


def forget(points: Iterable[Point]) -> None:
    """Let go of points that nobody else has.

    They refer to each other: they, and their records, would stay until garbage is collected.
    """
    for rivals in {id(point.rivals): point.rivals for point in points}.values():
        for point in rivals.values():
            vars(point).clear()


def _started(record: Record) -> str:
    return record.started

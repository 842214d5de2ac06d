"""What was measured when, at which commit, with which PyTorch; and how it compares with today's."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from sparsebench.analysis.machines import machine_names
from sparsebench.analysis.point import LEAD
from sparsebench.records import Record


@dataclass(frozen=True)
class State:
    """The records of one machine at one commit with one PyTorch.

    `over_newest` is the geometric mean of the time of `ours` over that of the newest record of
    each case, of the `shared` cases that were measured later, too; None where there are none.
    Measured on other days, they say what changed by a lot.
    """

    machine: str
    first: str
    last: str
    commit: str
    torch: str
    records: int
    shared: int
    over_newest: float | None


def states(records: Iterable[Record]) -> list[State]:
    """Return the states of all machines, each machine's oldest first."""
    ordered = sorted(records, key=lambda record: record.started)
    names = machine_names(record.machine for record in ordered)
    newest: dict[tuple[str, str], Record] = {}
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in ordered:
        machine = str(record.machine.get("id", ""))
        if _timed(record):
            newest[machine, record.case.key] = record
        about = record.machine
        commit = str(about.get("sparsebench", {}).get("commit") or "unknown")
        torch = str(about.get("torch", {}).get("version") or "unknown")
        groups.setdefault((names[machine], commit, torch), []).append(record)
    made = []
    for (name, commit, torch), own in groups.items():
        ratios = [
            math.log(statistics.median(record.samples) / statistics.median(last.samples))
            for record in own
            if _timed(record) and record.case.implementation == LEAD
            for last in [newest[str(record.machine.get("id", "")), record.case.key]]
            if last is not record
        ]
        made.append(
            State(
                machine=name, first=own[0].started[:10], last=own[-1].started[:10], commit=commit,
                torch=torch, records=len(own), shared=len(ratios),
                over_newest=math.exp(statistics.fmean(ratios)) if ratios else None,
            )
        )  # fmt: skip
    return sorted(made, key=lambda state: (state.machine, state.last))


def _timed(record: Record) -> bool:
    return record.status == "ok" and bool(record.samples) and not record.disturbed

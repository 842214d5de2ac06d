"""Disturbed cases are taken again, later: up to a share of the time that the others took."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from sparsebench.cases.case import Case
from sparsebench.cases.settings import Settings
from sparsebench.measuring.progress import counted, duration
from sparsebench.measuring.runner import Again
from sparsebench.records import Record, Store

# Is given all records, how the disturbed ones are taken once more, and until when.
Measure = Callable[[Mapping[Case, Record], Mapping[Case, Again], Settings, float], object]

_LEAST_S = 10.0  # however short a sweep is
_MOST = 5  # times, for each case
# Samples of a tenth of the calls: some of them lie between two turns of whatever else runs.
_SHORTER = 10


@dataclass
class Retakes:
    """What came of the cases that were disturbed, and the seconds: spent, and allowed."""

    measured: int = 0
    disturbed: int = 0
    left: int = 0
    spent_s: float = 0.0
    allowed_s: float = 0.0

    def __str__(self) -> str:
        """Say it in one line, as a sweep's last."""
        if not self.disturbed:
            return f"none of {counted(self.measured)} was disturbed by other work"
        line = f"{self.disturbed} of {counted(self.measured)} "
        line += "was" if self.disturbed == 1 else "were"
        line += " disturbed by other work"
        if self.spent_s:
            spent, allowed = duration(self.spent_s), duration(self.allowed_s)
            line += f", and taken again ({spent}, of {allowed} allowed)"
        if not self.left:
            return line + ": all have rounds that were not"
        if self.left == 1:
            return line + "; 1 stays so: it is marked ! in tables, and decides nothing"
        return line + f"; {self.left} stay so: they are marked ! in tables, and decide nothing"


def take(
    store: Store,
    records: Callable[[], Mapping[Case, Record]],
    measure: Measure,
    settings: Settings,
    measured_s: float,
    *,
    deadline: float | None = None,
) -> Retakes:
    """Take the cases of `records` again that were disturbed, while `measured_s` allow it.

    In passes over all of them, so that a case is taken again minutes later where there are many.
    The rounds before stay in the record, marked. `records` returns what `store` has of the cases
    by now; `measure` appends a round of each to it, on the host that measured it before, where that
    is there. None is begun after `deadline` (of `time.monotonic`).
    """
    found = records()
    bad = _lacking(found)
    told = Retakes(len(found), len({c for c, r in found.items() if _ever(r)}), len(bad))
    told.allowed_s = allowed(settings, measured_s)
    store.go_on(found.values())
    begun = time.monotonic()
    tries = Counter[Case]()  # one that failed leaves no round that would tell
    end = min([begun + told.allowed_s, *([] if deadline is None else [deadline])])
    while bad and time.monotonic() < end:
        once = replace(settings, rounds=1, seed=settings.seed + 1)
        measure(found, {case: _again(record) for case, record in bad.items()}, once, end)
        tries.update(list(bad))
        found = records()
        lacking = _lacking(found)
        bad = {c: r for c, r in lacking.items() if max(tries[c], _again(r).number - 1) < _MOST}
        told.spent_s = time.monotonic() - begun
    told.left = sum(bool(record.disturbed) for record in found.values())
    return told


def allowed(settings: Settings, measured_s: float) -> float:
    """Return for how many seconds disturbed cases are taken again, where all took `measured_s`."""
    return max(_LEAST_S, settings.retake * measured_s) if settings.retake else 0.0


def _lacking(found: Mapping[Case, Record]) -> dict[Case, Record]:
    """Return those that have fewer clean rounds than were asked for."""
    return {
        case: record
        for case, record in found.items()
        if record.status == "ok" and len(record.clean) < sum(not r.retaken for r in record.rounds)
    }


def _ever(record: Record) -> bool:
    return record.status == "ok" and len(record.clean) < len(record.rounds)


def _again(record: Record) -> Again:
    """Return how a case is taken once more."""
    calls = max((turn.calls_per_sample for turn in record.rounds if not turn.retaken), default=1)
    number = 1 + max((turn.retaken for turn in record.rounds), default=0)
    host = str(record.run.get("host", ""))
    return Again(calls=max(1, calls // _SHORTER), number=number, host=host)

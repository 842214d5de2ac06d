"""The ratios of many checks, commit by commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from sparsebench.errors import InputError
from sparsebench.regression import results
from sparsebench.regression.change_points import changes
from sparsebench.regression.views import named
from sparsebench.views import units
from sparsebench.views.tables.table import Table

BASE = "base"


@dataclass(frozen=True)
class Entry:
    """A ratio of one check: the head's over the base's, or ours over a rival's.

    `against` says which: BASE, or the rival's name; `base` is the base's commit. `low` and `high`
    are its interval, where it has one. `verdict` is the check's own word for it. `change` is the
    ratio of what came after to what was before, where ratios over the same changed here: see
    `changes`.
    """

    started: str
    commit: str
    machine: str
    workload: str
    measure: str
    against: str
    ratio: float
    low: float | None
    high: float | None
    verdict: str
    base: str = ""
    change: float | None = None


def load(source: Path) -> list[Entry]:
    """Read what the checks in a folder found, the oldest first. Raises InputError if none did."""
    if not source.exists():
        raise InputError(f"{source}: no such folder; `sparsebench check` makes it")
    entries = [*_of_checks(source), *_of_wires(source)]
    if not entries:
        raise InputError(
            f"{source}: holds no {results.Checks.file_name} and no "
            f"{results.WireChecks.file_name} with a ratio"
        )
    return _with_changes(sorted(entries, key=lambda entry: entry.started))


def _with_changes(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries, marked where a series of one machine, over one thing, changed.

    Of checks those have a series that were made over the same base.
    """
    series: dict[tuple[str, ...], list[int]] = {}
    for number, e in enumerate(entries):
        series.setdefault((e.machine, e.workload, e.measure, e.against, e.base), []).append(number)
    marked = list(entries)
    for places in series.values():
        for change in changes([entries[n].ratio for n in places]):
            at = places[change.place]
            marked[at] = replace(entries[at], change=change.ratio)
    return marked


def commits(entries: Sequence[Entry]) -> list[str]:
    """Return the commits in the order in which they were first checked."""
    return list(dict.fromkeys(entry.commit for entry in entries))


def table(entries: Sequence[Entry]) -> Table:
    """Return every ratio, the newest check last."""
    numbers = pd.DataFrame([vars(entry) for entry in entries])
    text = pd.DataFrame(
        [
            {
                "commit": e.commit,
                "workload": e.workload,
                "measure": e.measure,
                "over": e.against,
                "ratio": _shown(e),
                "verdict": e.verdict,
                "change": ""
                if e.change is None
                else f"{units.significant(e.change, 3)}× from here",
            }
            for e in entries
        ]
    )
    caption = "Ratios by commit: over the base, or ours over another; below 1 is better"
    return Table("history", caption, numbers, text)


def _of_checks(source: Path) -> list[Entry]:
    return [
        Entry(
            started=check.started, commit=named(check.head), machine=_machine(check.machine),
            workload=found.workload, measure=found.measure, against=BASE,
            ratio=found.ratio.value, low=found.ratio.low, high=found.ratio.high,
            verdict=found.verdict, base=named(check.base),
        )
        for check in results.load_checks(source)
        for found in check.findings
        if found.ratio is not None
    ]  # fmt: skip


def _of_wires(source: Path) -> list[Entry]:
    return [
        Entry(
            started=check.started,
            commit="unknown" if check.head is None else named(check.head),
            machine=_machine(check.machine),
            workload=found.workload, measure=found.measure, against=found.against,
            ratio=found.ratio, low=None, high=None,
            verdict="holds" if found.held else "tripped",
        )
        for check in results.load_wires(source)
        for found in check.findings
        if found.ratio is not None
    ]  # fmt: skip


def _machine(fingerprint: dict[str, object]) -> str:
    cpu = fingerprint.get("cpu")
    return str(cpu.get("model", "")) if isinstance(cpu, dict) else ""


def _shown(entry: Entry) -> str:
    value = units.significant(entry.ratio, 3)
    if entry.low is None or entry.high is None:
        return value
    return f"{value} ({units.significant(entry.low, 3)}–{units.significant(entry.high, 3)})"

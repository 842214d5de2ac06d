"""The results file of airspeed velocity (asv), for its web pages over a history of commits."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from sparsebench.analysis.estimates import Draws
from sparsebench.analysis.grouping import group
from sparsebench.analysis.point import Point
from sparsebench.analysis.points import points
from sparsebench.cases.case import USUAL
from sparsebench.errors import InputError
from sparsebench.records import Record

_COLUMNS = ["result", "params", "version", "started_at", "duration", "stats_ci_99_a",
            "stats_ci_99_b", "stats_q_25", "stats_q_75", "stats_number", "stats_repeat",
            "samples", "profile"]  # fmt: skip


def write(found: Sequence[Record], path: Path) -> None:
    """Write every timed case of one commit and machine as asv's result format, version 2.

    A benchmark is an implementation and phase; its parameter is the problem. Raises InputError
    where the records are of several machines or commits, or no commit is recorded.
    """
    timed = [point for point in points(found) if point.ok]
    places = {(point.machine, _commit(point)) for point in timed}
    if len(places) != 1:
        raise InputError(
            f"asv's files are of one machine and commit, and these records of {len(places)}: "
            "export them one by one"
        )
    ((_, commit),) = places
    if not commit:
        raise InputError("asv's files are named by a commit, and these records have none")
    path.write_text(json.dumps(_document(timed, commit), indent=1) + "\n", encoding="utf-8")


def _commit(point: Point) -> str:
    return str(point.record.machine.get("sparsebench", {}).get("commit") or "")


def _document(timed: Sequence[Point], commit: str) -> dict[str, Any]:
    machine = timed[0].record.machine
    python = ".".join(str(machine.get("python", "3")).split(".")[:2])
    torch = str(machine.get("torch", {}).get("version", ""))
    results = {
        f"sparsebench.{implementation}.time_{phase}": _results(members)
        for (implementation, phase), members in group(timed, "implementation", "phase").items()
    }
    return {
        "version": 2,
        "commit_hash": commit,
        "env_name": f"existing-py{python}-torch{torch}",
        "date": _milliseconds(max(point.record.started for point in timed)),
        "params": {
            "machine": str(machine.get("id", "")),
            "cpu": str(machine.get("cpu", {}).get("model", "")),
            "os": str(machine.get("os", "")),
            "ram": f"{machine.get('memory_gib', '')} GiB",
            "num_cpu": str(machine.get("cpu", {}).get("threads", "")),
            "python": python,
            "torch": torch,
        },
        "python": python,
        "requirements": {"torch": torch},
        "env_vars": {},
        "result_columns": _COLUMNS,
        "results": results,
        "durations": {},
    }


def _results(members: Sequence[Point]) -> list[Any]:
    """Return the columns: the interval is that of 99% asv asks for, where there is one."""
    samples = [point.record.samples for point in members]
    times = [point.time for point in members]
    return [
        [float(time[0]) for time in times],
        [[repr(_problem(point)) for point in members]],
        "1",
        _milliseconds(min(point.record.started for point in members)),
        sum(point.record.wall_s for point in members),
        *([_quantile(time[1:], share) for time in times] for share in (0.005, 0.995)),
        *([float(np.quantile(own, share)) for own in samples] for share in (0.25, 0.75)),
        [point.record.calls_per_sample for point in members],
        [len(own) for own in samples],
        samples,
        None,
    ]


def _quantile(replicas: Draws, share: float) -> float | None:
    found = float(np.quantile(replicas, share))
    return None if math.isnan(found) else found


def _problem(point: Point) -> str:
    case = point.case
    return (
        f"{case.operation} {point.size} {case.sparsity:g} batch {case.batch} {case.dtype} "
        f"{case.device} {case.threads} threads {case.topology}"
        + (f" seed {case.seed}" if case.seed else "")
        + "".join(f" {name} {value}" for name, value in case.described.items() if name in USUAL)
    )


def _milliseconds(started: str) -> int:
    """Return a time as asv counts it: milliseconds since 1970."""
    return int(1000 * datetime.fromisoformat(started).timestamp()) if started else 0

"""The JSON of pytest-benchmark, for `pytest-benchmark compare` and what reads its files."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sparsebench.analysis.point import Point
from sparsebench.analysis.points import points
from sparsebench.cases.case import USUAL
from sparsebench.errors import InputError
from sparsebench.records import Record

_VERSION = "5.1.0"  # of the format's fields, as pytest-benchmark writes them


def write(found: Sequence[Record], path: Path) -> None:
    """Write every timed case of one machine as a benchmark, grouped by problem.

    Raises InputError where the records are of several machines: the format has room for one.
    """
    timed = [point for point in points(found) if point.ok]
    if len({point.machine for point in timed}) > 1:
        raise InputError(
            "pytest-benchmark's files describe one machine, and these records are of "
            f"{len({point.machine for point in timed})}: export them one by one"
        )
    if not timed:
        raise InputError("no case has a time")
    path.write_text(json.dumps(_document(timed), indent=1) + "\n", encoding="utf-8")


def _document(timed: Sequence[Point]) -> dict[str, Any]:
    newest = max((point.record for point in timed), key=lambda record: record.started)
    machine, version = newest.machine, newest.machine.get("sparsebench", {})
    return {
        "machine_info": _machine(machine),
        "commit_info": {
            "id": version.get("commit"), "time": None, "author_time": None,
            "dirty": bool(version.get("dirty", False)), "project": "sparsebench", "branch": None,
        },
        "benchmarks": [_benchmark(point) for point in timed],
        "datetime": newest.started,
        "version": _VERSION,
    }  # fmt: skip


def _machine(machine: Mapping[str, Any]) -> dict[str, Any]:
    cpu = machine.get("cpu", {})
    return {
        "node": str(machine.get("id", "")),
        "processor": str(cpu.get("model", "")),
        "machine": str(cpu.get("architecture", "")),
        "python_compiler": "",
        "python_implementation": "CPython",
        "python_version": str(machine.get("python", "")),
        "python_build": ["", ""],
        "release": str(machine.get("os", "")),
        "system": str(machine.get("os", "")).partition(" ")[0],
        "cpu": {"brand_raw": str(cpu.get("model", "")), "count": cpu.get("threads")},
    }


def _benchmark(point: Point) -> dict[str, Any]:
    case, samples = point.case, sorted(point.record.samples)
    parameters = {k: v for k, v in asdict(case).items() if k not in USUAL or v != USUAL[k]}
    problem = " ".join(f"{k}={v}" for k, v in parameters.items() if k != "implementation")
    return {
        "group": problem,
        "name": f"{case.implementation}[{problem}]",
        "fullname": f"sparsebench::{case.key}",
        "params": parameters,
        "param": case.implementation,
        "extra_info": {},
        "options": {
            "disable_gc": False, "timer": "perf_counter", "min_rounds": 1, "max_time": 0.0,
            "min_time": 0.0, "warmup": True,
        },
        "stats": _statistics(samples, point.record.calls_per_sample) | {
            "data": point.record.samples
        },
    }  # fmt: skip


def _statistics(samples: Sequence[float], calls: int) -> dict[str, Any]:
    """Return pytest-benchmark's statistics; outliers as it counts them (1σ; 1.5 IQR)."""
    q1, median, q3 = (float(q) for q in np.quantile(samples, [0.25, 0.5, 0.75]))
    mean, spread = statistics.fmean(samples), q3 - q1
    deviation = statistics.stdev(samples) if len(samples) > 1 else 0.0
    low, high = q1 - 1.5 * spread, q3 + 1.5 * spread
    inner = [sample for sample in samples if low <= sample <= high]
    mild = sum(not mean - deviation <= sample <= mean + deviation for sample in samples)
    severe = len(samples) - len(inner)
    return {
        "min": min(samples), "max": max(samples), "mean": mean, "stddev": deviation,
        "rounds": len(samples), "median": median, "iqr": spread, "q1": q1, "q3": q3,
        "iqr_outliers": severe, "stddev_outliers": mild, "outliers": f"{mild};{severe}",
        "ld15iqr": min(inner), "hd15iqr": max(inner), "ops": 1 / mean,
        "total": sum(samples), "iterations": max(1, calls),
    }  # fmt: skip

"""Every case: what was measured, or why it was not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import Any

import pandas as pd

from sparsebench.analysis import together
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.point import Point
from sparsebench.cases.case import USUAL
from sparsebench.views import units
from sparsebench.views.tables.table import LongTable, Row, Table, labels_of, tidy


def measurements(points: Sequence[Point]) -> Table:
    """Return every case with every metric; a case that failed says why."""
    caption = "Every measurement: time and ratios with their 95% intervals, memory"
    return LongTable(
        "measurements", caption, numbers(points), lambda: [labels_of(p) | _shown(p) for p in points]
    )


def numbers(points: Sequence[Point]) -> pd.DataFrame:
    """Return every case with every metric, and its interval where it has one."""
    together.work_out(points)
    # These decide which fields describe a case.
    unusual = itemgetter("operation", *USUAL)
    cases = [p.case for p in points]
    kinds = {unusual(vars(case)): case for case in cases}
    names = dict.fromkeys(name for case in kinds.values() for name in case.described)
    columns: dict[str, list[Any]] = {"machine": [p.machine for p in points]}
    columns |= {name: list(map(attrgetter(name), cases)) for name in names}
    columns["status"] = [p.record.status for p in points]
    columns["message"] = [p.record.message for p in points]
    columns["disturbed"] = [p.disturbed for p in points]
    for metric in METRICS.values():
        column = f"{metric.name} [{metric.unit}]"
        if metric.counted is not None:
            counts = [metric.counted(point) for point in points]
            columns[column] = [None if count is None else float(count) for count in counts]
            continue
        found = [metric.of(point) for point in points]
        columns[column] = [None if e is None else e.value for e in found]
        wide = [e is not None and e.low < e.high for e in found]
        if any(wide):
            for end in ("low", "high"):
                ends = zip(found, wide, strict=True)
                columns[f"{column} {end}"] = [getattr(e, end) if w else None for e, w in ends]
    return pd.DataFrame(columns)


def failures(points: Sequence[Point]) -> Table:
    """Return every case without a time, and why."""
    rows = [
        labels_of(p)
        | {
            "sparsity": units.percent(p.case.sparsity),
            "status": p.record.status,
            "why": " ".join(p.record.message.split()),
        }
        for p in points
        if not p.ok
    ]
    return Table("failures", "Cases without a time, and why", pd.DataFrame(rows), tidy(rows))


def _shown(point: Point) -> Row:
    """Return the metrics that matter most, as text."""
    if not point.ok:
        why = " ".join(point.record.message.split())
        return {"sparsity": units.percent(point.case.sparsity), "time": point.record.status} | {
            "note": why
        }
    row: Row = {"sparsity": units.percent(point.case.sparsity)}
    styles: dict[str, Callable[[Any], str]] = {
        "time": lambda e: units.bounded(e, "s"),
        "speedup": units.interval,
        "relative_time": units.interval,
        "peak_memory": lambda e: units.quantity(e.value, "B"),
        "memory_ratio": lambda e: units.ratio(e.value),
        "throughput": lambda e: units.quantity(e.value, "FLOP/s"),
        "roofline": lambda e: units.percent(round(e.value, 2)),
    }
    for name, style in styles.items():
        estimate = METRICS[name].of(point)
        row[name.replace("_", " ")] = "" if estimate is None else style(estimate)
    row["time"] = units.doubtful(row["time"], point.disturbed)
    return row | {"note": " ".join((point.record.message or point.disturbed).split())}

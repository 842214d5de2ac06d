"""Every case: what was measured, or why it was not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.points import Point
from sparsebench.views import units
from sparsebench.views.tables.table import Row, Table, labels_of, noted, tidy


def measurements(points: Sequence[Point]) -> Table:
    """Return every case with every metric; a case that failed says why."""
    numbers, text = [], []
    names = dict.fromkeys(name for point in points for name in point.case.described)
    for point in points:
        case = {name: point.get(name) for name in names}
        status = {"status": point.record.status, "message": point.record.message}
        values: Row = {}
        for metric in METRICS.values():
            estimate = metric.of(point)
            column = f"{metric.name} [{metric.unit}]"
            values[column] = None if estimate is None else estimate.value
            if estimate is not None and estimate.low < estimate.high:
                values[f"{column} low"], values[f"{column} high"] = estimate.low, estimate.high
        numbers.append({"machine": point.machine, **case, **status, **values})
        text.append(labels_of(point) | _shown(point))
    caption = "Every measurement: median time, speed-up over dense with its 95% interval, memory"
    return Table("measurements", noted(caption, text), pd.DataFrame(numbers), tidy(text))


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
        "time": lambda e: units.quantity(e.value, "s"),
        "speedup": units.interval,
        "relative_time": lambda e: units.ratio(e.value),
        "peak_memory": lambda e: units.quantity(e.value, "B"),
        "memory_ratio": lambda e: units.ratio(e.value),
        "throughput": lambda e: units.quantity(e.value, "FLOP/s"),
        "roofline": lambda e: units.percent(round(e.value, 2)),
    }
    for name, style in styles.items():
        estimate = METRICS[name].of(point)
        row[name.replace("_", " ")] = "" if estimate is None else style(estimate)
    return row | {"note": " ".join(point.record.message.split())}

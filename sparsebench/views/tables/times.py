"""The table of times by sparsity."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsebench.analysis.grouping import CONDITIONS, group
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.point import Point
from sparsebench.views import units
from sparsebench.views.tables.table import Table, columns, labels_of, noted, tidy


def times(points: Sequence[Point]) -> Table:
    """Return the median time of a call, one column per sparsity; a failure says which."""
    sparsities = sorted({p.case.sparsity for p in points})
    numbers, text = [], []
    for members in group(points, *CONDITIONS, "phase", "batch", "size", "implementation").values():
        labels, cells = labels_of(members[0]), {p.case.sparsity: p for p in members}
        numbers += [
            labels
            | {"sparsity": p.case.sparsity, "status": p.record.status}
            | columns("time [s]", METRICS["time"].of(p))
            for p in members
        ]
        text.append(labels | {units.percent(s): _time(cells.get(s)) for s in sparsities})
    caption = "Time of a call by sparsity, with its 95% interval"
    return Table("time", noted(caption, text), pd.DataFrame(numbers), tidy(text))


def _time(point: Point | None) -> str:
    if point is None:
        return ""
    estimate = METRICS["time"].of(point)
    if estimate is None:
        return point.record.status
    return units.doubtful(units.bounded(estimate, "s"), point.disturbed)

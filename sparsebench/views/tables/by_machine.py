"""Every implementation on several machines: a column for each."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsebench.analysis.grouping import CONDITIONS, group
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.point import Point
from sparsebench.views import units
from sparsebench.views.tables.table import Table, columns, labels_of, noted, tidy


def by_machine(points: Sequence[Point]) -> Table:
    """Return time and speed-up over dense, a column per machine; nothing where there is but one.

    Each speed-up is over the dense layer on the same machine.
    """
    names = sorted({p.machine for p in points})
    caption = "Machines side by side: time, and speed-up over the dense layer of the same machine"
    if len(names) < 2:
        return Table("machines", caption, pd.DataFrame(), pd.DataFrame())
    numbers, text = [], []
    shared = [name for name in CONDITIONS if name != "machine"]
    fields = (*shared, "phase", "batch", "size", "sparsity", "implementation")
    for members in group(points, *fields).values():
        labels = {name: members[0].get(name) for name in fields}
        numbers += [
            labels_of(p)
            | {"sparsity": p.case.sparsity, "status": p.record.status}
            | columns("time", METRICS["time"].of(p))
            | columns("speedup", METRICS["speedup"].of(p))
            for p in members
        ]
        cells = {p.machine: _cell(p) for p in members}
        shown = {name: cells.get(name, "") for name in names}
        text.append(labels | {"sparsity": units.percent(members[0].case.sparsity)} | shown)
    return Table("machines", noted(caption, text), pd.DataFrame(numbers), tidy(text))


def _cell(point: Point) -> str:
    time, speedup = METRICS["time"].of(point), METRICS["speedup"].of(point)
    if time is None:
        return point.record.status
    text = units.bounded(time, "s")
    return text if speedup is None else f"{text}, {units.interval(speedup)}"

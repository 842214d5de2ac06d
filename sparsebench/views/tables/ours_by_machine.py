"""Machines side by side: what each gains on the same layer. No ratio is taken between them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsebench.analysis.grouping import group
from sparsebench.analysis.machines import place
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.point import LEAD, Point
from sparsebench.cases.case import USUAL
from sparsebench.views import units
from sparsebench.views.tables.table import Table, columns, noted, tidy

_PROBLEM = ("operation", "dtype", "topology", "seed", "phase", *USUAL, "batch", "size", "sparsity")


def ours_by_machine(points: Sequence[Point]) -> Table:
    """Return, for each layer that two places measured, what `ours` takes and gains on each."""
    ours = [p for p in points if p.case.implementation == LEAD and p.ok]
    numbers, text = [], []
    for key, members in group(ours, *_PROBLEM).items():
        where = {place(p.case, p.machine): p for p in members}
        if len(where) < 2:
            continue
        labels = dict(zip(_PROBLEM, key, strict=True))
        for name, point in where.items():
            found = columns("time [s]", METRICS["time"].of(point))
            found |= columns("speedup", METRICS["speedup"].of(point))
            numbers.append(labels | {"where": name} | found)
        labels["sparsity"] = units.percent(labels["sparsity"])
        text.append(labels | {name: _cell(point) for name, point in where.items()})
    caption = "Time of `ours`, and its speed-up over the dense layer of the same machine"
    return Table("side-by-side", noted(caption, text), pd.DataFrame(numbers), tidy(text))


def _cell(point: Point) -> str:
    time = units.doubtful(units.quantity(point.seconds.value, "s"), point.disturbed)
    speedup = METRICS["speedup"].of(point)
    if speedup is None:
        return time
    return f"{time}, {units.doubtful(units.interval(speedup), point.unsure)}"

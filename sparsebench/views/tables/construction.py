"""What it takes to make a layer, its connections included."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.point import Point
from sparsebench.views import units
from sparsebench.views.tables.table import Table, columns, labels_of, noted, tidy


def construction(points: Sequence[Point]) -> Table:
    """Return time and peak memory of making each layer, and both for each of its numbers."""
    numbers, text = [], []
    for point in points:
        case = point.case
        if case.phase != "construction" or not point.ok:
            continue
        count = case.weights if case.implementation == "dense" else case.nnz
        each, peak = point.seconds.times(1 / count), METRICS["peak_memory"].of(point)
        labels = labels_of(point) | {"sparsity": case.sparsity}
        labels.pop("phase")
        labels.pop("batch")
        numbers.append(
            labels
            | columns("time [s]", point.seconds)
            | columns("time per number [s]", each)
            | {"peak [B]": None if peak is None else peak.value}
        )
        text.append(
            labels
            | {
                "sparsity": units.percent(case.sparsity),
                "time": units.doubtful(units.bounded(point.seconds, "s"), point.disturbed),
                "per number": units.quantity(each.value, "s"),
                "peak": "" if peak is None else units.quantity(peak.value, "B"),
                "peak per number": "" if peak is None else f"{peak.value / count:.1f} B",
            }
        )
    caption = "Making a layer: the connections are drawn, checked and sorted, the numbers drawn"
    return Table("construction", noted(caption, text), pd.DataFrame(numbers), tidy(text))

"""Peak memory against dense, beside what the mathematics needs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.points import Point
from sparsebench.views import units
from sparsebench.views.tables.table import Table, labels_of, tidy


def memory(points: Sequence[Point]) -> Table:
    """Return peak memory against dense, beside what the mathematics needs."""
    numbers, text = [], []
    for point in points:
        peak = METRICS["peak_memory"].of(point)
        if peak is None:
            continue
        ratio, needed = METRICS["memory_ratio"].of(point), METRICS["needed_memory"].of(point)
        labels = labels_of(point) | {"sparsity": point.case.sparsity}
        numbers.append(
            labels
            | {
                "peak [B]": peak.value,
                "over dense": None if ratio is None else ratio.value,
                "needed [B]": None if needed is None else needed.value,
                "method": point.record.memory.method,
            }
        )
        text.append(
            labels
            | {
                "sparsity": units.percent(point.case.sparsity),
                "peak": units.quantity(peak.value, "B"),
                "over dense": "" if ratio is None else units.ratio(ratio.value),
                "needed": "" if needed is None else units.quantity(needed.value, "B"),
            }
        )
    caption = "Peak memory of a call, what the module holds included, and what the sparse "
    caption += "mathematics needs"
    return Table("memory", caption, pd.DataFrame(numbers), tidy(text))

"""Peak memory against dense, beside what the mathematics needs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.point import Point
from sparsebench.views import units
from sparsebench.views.tables.table import LongTable, Row, Table, label_columns, labels_of


def memory(points: Sequence[Point]) -> Table:
    """Return peak memory against dense, beside what the mathematics needs."""
    shown = [point for point in points if METRICS["peak_memory"].of(point) is not None]
    found = [_of(point) for point in shown]
    numbers = label_columns(shown) | {
        "sparsity": [point.case.sparsity for point in shown],
        "peak [B]": [peak for peak, _, _ in found],
        "over dense": [ratio for _, ratio, _ in found],
        "needed [B]": [needed for _, _, needed in found],
        "method": [point.record.memory.method for point in shown],
    }
    caption = "Peak memory of a call, what the module holds included, and what the sparse "
    caption += "mathematics needs"
    return LongTable(
        "memory", caption, pd.DataFrame(numbers), lambda: [labels_of(p) | _text(p) for p in shown]
    )


def _of(point: Point) -> tuple[float | None, float | None, float | None]:
    """Return the peak, over dense's, and what is needed."""
    found = (METRICS[name].of(point) for name in ("peak_memory", "memory_ratio", "needed_memory"))
    peak, ratio, needed = (None if one is None else one.value for one in found)
    return peak, ratio, needed


def _text(point: Point) -> Row:
    peak, ratio, needed = _of(point)
    return {
        "sparsity": units.percent(point.case.sparsity),
        "peak": "" if peak is None else units.quantity(peak, "B"),
        "over dense": "" if ratio is None else units.ratio(ratio),
        "needed": "" if needed is None else units.quantity(needed, "B"),
    }

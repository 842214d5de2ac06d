"""Sparse or quantised? What inference takes in each of the ways in which people deploy a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from sparsebench.analysis.baselines import short_dense
from sparsebench.analysis.estimates import Estimate
from sparsebench.analysis.grouping import CONDITIONS, group
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.point import Point
from sparsebench.views import units
from sparsebench.views.tables.table import Table, columns, labels_of, noted, tidy


def deploy(points: Sequence[Point]) -> Table:
    """Return time, speed-up, memory and error of inference, the fastest of a problem first.

    Of problems on which a dense layer was measured that multiplies in a shorter type: there exact
    and sparse stands beside approximate and dense.
    """
    asked = [p for p in points if p.case.phase == "inference" and p.ok and short_dense(p)]
    numbers, text = [], []
    for members in group(asked, *CONDITIONS, "phase", "batch", "size", "sparsity").values():
        for point in sorted(members, key=lambda p: p.seconds.value):
            labels = labels_of(point) | {"sparsity": point.case.sparsity}
            found = {name: METRICS[name].of(point) for name in _SHOWN}
            row = {
                key: value for name in _SHOWN for key, value in columns(name, found[name]).items()
            }
            numbers.append(labels | row)
            shown = {
                title: "" if (e := found[name]) is None else style(e)
                for name, (title, style) in _SHOWN.items()
            }
            shown["time"] = units.doubtful(shown["time"], point.disturbed)
            text.append(labels | {"sparsity": units.percent(point.case.sparsity)} | shown)
    caption = "Sparse or quantised: inference by time, with its memory and the error of its output "
    caption += "(the largest, over the largest entry, against float64)"
    return Table("deploy", noted(caption, text), pd.DataFrame(numbers), tidy(text))


_SHOWN: dict[str, tuple[str, Callable[[Estimate], str]]] = {
    "time": ("time", lambda e: units.bounded(e, "s")),
    "speedup": ("over nn.Linear", units.interval),
    "speedup_over_best_dense": ("over the fastest dense", units.interval),
    "peak_memory": ("memory", lambda e: units.quantity(e.value, "B")),
    "error": ("error", lambda e: f"{e.value:.1e}"),
}

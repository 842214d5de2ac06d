"""What a layer gains from zeros in its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from sparsebench.analysis.baselines import over_point
from sparsebench.analysis.grouping import CONDITIONS, group
from sparsebench.analysis.point import Point
from sparsebench.views import units
from sparsebench.views.tables.table import Table, columns, labels_of, noted, tidy


def zeros(points: Sequence[Point]) -> Table:
    """Return the time of each share of zeros, and of none, over dense's at the same share."""
    timed = [p for p in points if p.ok and p.case.operation == "linear"]
    numbers, text = [], []
    shared = [name for name in CONDITIONS if name != "input_sparsity"]
    names = (*shared, "phase", "batch", "sparsity", "implementation")
    for members in group(timed, "in_features", "out_features", *names).values():
        if not any(p.case.input_sparsity for p in members):
            continue
        ordered = sorted(members, key=lambda p: p.case.input_sparsity)
        labels = labels_of(ordered[0]) | {"sparsity": ordered[0].case.sparsity}
        labels.pop("input_sparsity")
        labels["size"] = replace(ordered[0].case, input_sparsity=0.0).size
        shown = {}
        for point in ordered:
            share = point.case.input_sparsity
            over = None
            if point.baseline is not None:
                over = over_point([point.baseline], point)
            row = labels | {"zeros": share} | columns("time [s]", point.seconds)
            numbers.append(row | columns("over dense", over))
            cell = units.doubtful(units.quantity(point.seconds.value, "s"), point.unsure)
            faster = "" if over is None else f", {units.ratio(over.value)}"
            shown[f"{units.percent(share)} zeros"] = cell + faster
        text.append(labels | {"sparsity": units.percent(labels["sparsity"])} | shown)
    caption = (
        "Time by the share of zeros in the input, and how many times as fast as dense, which does "
        "not look for them"
    )
    return Table("zeros", noted(caption, text), pd.DataFrame(numbers), tidy(text))

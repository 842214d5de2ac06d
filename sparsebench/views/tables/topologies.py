"""What it costs that rows are of unequal lengths."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsebench.analysis.grouping import CONDITIONS, group
from sparsebench.analysis.point import Point
from sparsebench.views import units
from sparsebench.views.tables.table import Table, columns, labels_of, noted, tidy

_EVEN = "random"
_OTHER = tuple(name for name in CONDITIONS if name != "topology")


def topologies(points: Sequence[Point]) -> Table:
    """Return the time of every other topology over that of random connections, as many of them."""
    timed = [point for point in points if point.decides]
    numbers, text = [], []
    others = sorted({p.case.topology for p in timed} - {_EVEN})
    names = (*_OTHER, "phase", "batch", "size", "sparsity", "implementation")
    for members in group(timed, *names).values() if others else ():
        by_name = {point.case.topology: point for point in members}
        if (even := by_name.get(_EVEN)) is None:
            continue
        labels = labels_of(even) | {"sparsity": even.case.sparsity}
        labels.pop("topology")
        shown = {}
        for name in others:
            if (point := by_name.get(name)) is None:
                continue
            ratio = point.rounds.over(even.rounds)
            numbers.append(labels | {"topology": name} | columns("relative time", ratio))
            shown[name] = units.interval(ratio)
        labels["sparsity"] = units.percent(even.case.sparsity)
        text.append(labels | {name: shown.get(name, "") for name in others})
    caption = "Time over that of as many random connections, whose rows are of about equal lengths"
    return Table("topologies", noted(caption, text), pd.DataFrame(numbers), tidy(text))

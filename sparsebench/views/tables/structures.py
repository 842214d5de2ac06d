"""Which structure? What connections with each gain over the dense layer, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.point import Point
from sparsebench.analysis.structures import by_structure, names
from sparsebench.views import units
from sparsebench.views.tables.table import Table, columns, labels_of, noted, tidy


def structures(points: Sequence[Point]) -> Table:
    """Return the speed-up of `ours` over the dense layer, one column per structure."""
    problems = by_structure(points)
    shown = names(problems)
    numbers, text = [], []
    for problem in problems:
        one = next(iter(problem.values()))
        labels = labels_of(one) | {"sparsity": one.case.sparsity}
        for label in ("topology", "implementation"):
            labels.pop(label)
        numbers += [
            labels | {"structure": name} | columns("speedup", METRICS["speedup"].of(p))
            for name, p in problem.items()
        ]
        labels["sparsity"] = units.percent(labels["sparsity"])
        text.append(labels | {name: _cell(problem.get(name)) for name in shown})
    caption = "Speed-up of `ours` over the dense layer, by the structure of the connections"
    return Table("structures", noted(caption, text), pd.DataFrame(numbers), tidy(text))


def _cell(point: Point | None) -> str:
    estimate = None if point is None else METRICS["speedup"].of(point)
    if point is None or estimate is None:
        return ""
    return units.doubtful(units.interval(estimate), point.unsure)

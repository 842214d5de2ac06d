"""Which structure? What connections with each gain over the dense layer, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.points import CONDITIONS, LEAD, Point, group, main_phases
from sparsebench.cases.topologies.structured import STRUCTURED, UNSTRUCTURED
from sparsebench.views import units
from sparsebench.views.tables.table import Table, columns, labels_of, noted, tidy

# Random connections have none.
_NAMES = {"random": UNSTRUCTURED, **STRUCTURED}
_OTHER = tuple(name for name in CONDITIONS if name != "topology")


def structures(points: Sequence[Point]) -> Table:
    """Return the speed-up of `ours` over the dense layer, one column per structure.

    Of layers that were timed with a structure, and of unstructured ones that are as sparse.
    """
    phases = set(main_phases(points))
    timed = [
        p
        for p in points
        if p.case.implementation == LEAD
        and p.case.topology in _NAMES
        and p.case.phase in phases
        and METRICS["speedup"].of(p) is not None
    ]
    found = {p.case.topology for p in timed}
    names = [topology for topology in _NAMES if topology in found]
    numbers, text = [], []
    for members in group(timed, *_OTHER, "phase", "batch", "size", "sparsity").values():
        of = {p.case.topology: p for p in members}
        if of.keys() <= {"random"}:
            continue
        labels = labels_of(members[0]) | {"sparsity": members[0].case.sparsity}
        for label in ("topology", "implementation"):
            labels.pop(label)
        numbers += [
            labels | {"structure": _NAMES[name]} | columns("speedup", METRICS["speedup"].of(p))
            for name, p in of.items()
        ]
        labels["sparsity"] = units.percent(labels["sparsity"])
        text.append(labels | {_NAMES[name]: _cell(of.get(name)) for name in names})
    caption = "Speed-up of `ours` over the dense layer, by the structure of the connections"
    return Table("structures", noted(caption, text), pd.DataFrame(numbers), tidy(text))


def _cell(point: Point | None) -> str:
    estimate = None if point is None else METRICS["speedup"].of(point)
    if point is None or estimate is None:
        return ""
    return units.doubtful(units.interval(estimate), point.unsure)

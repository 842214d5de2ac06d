"""Tables of speed-up over dense, and of where it begins."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsebench.analysis.crossover import crossover
from sparsebench.analysis.grouping import CONDITIONS, group
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.order import main_phases
from sparsebench.analysis.point import BASELINE, LEAD, Point
from sparsebench.views import units
from sparsebench.views.tables.table import (
    LongTable,
    Row,
    Table,
    columns,
    interval_columns,
    label_columns,
    labels_of,
    noted,
    tidy,
)


def summary(points: Sequence[Point]) -> Table:
    """Return what `ours` gains: a row per phase and layer, with its crossover and memory."""
    phases = set(main_phases(points))
    ours = [p for p in points if p.case.implementation == LEAD and p.case.phase in phases]
    sparsities = sorted({p.case.sparsity for p in ours})
    layers = list(group(ours, *CONDITIONS, "phase", "batch", "size").values())
    numbers = []
    for members in layers:
        labels, found = _labels(members), crossover(members)
        cells = {p.case.sparsity: p for p in members}
        speedups = {s: METRICS["speedup"].of(p) for s, p in cells.items()}
        values = {units.percent(s): e.value for s, e in speedups.items() if e is not None}
        place = None if found is None else found.sparsity
        numbers.append(labels | values | columns("crossover", place))

    def text(members: list[Point]) -> Row:
        found = crossover(members)
        crossing = {"faster than dense from": units.crossing(found) if found else ""}
        return _labels(members) | _cells(members, sparsities) | crossing

    caption = "Speed-up of `ours` over the dense layer by sparsity, and from where on it is faster"
    return LongTable(
        "summary", caption, pd.DataFrame(numbers), lambda: [text(members) for members in layers]
    )


def speedups(points: Sequence[Point]) -> Table:
    """Return the speed-up over dense, one column per sparsity; a failure says which."""
    rivals = [p for p in points if p.case.implementation != BASELINE]
    sparsities = sorted({p.case.sparsity for p in rivals})
    curves = group(rivals, *CONDITIONS, "phase", "batch", "size", "implementation").values()
    ordered = [p for members in curves for p in members]
    numbers = label_columns(ordered) | {
        "sparsity": [p.case.sparsity for p in ordered],
        "status": [p.record.status for p in ordered],
    }
    numbers |= interval_columns("speedup", [METRICS["speedup"].of(p) for p in ordered])
    caption = "Speed-up over the dense layer by sparsity (above 1×: sparse is faster)"
    return LongTable(
        "speedup",
        caption,
        pd.DataFrame(numbers),
        lambda: [labels_of(members[0]) | _cells(members, sparsities) for members in curves],
        len(curves),
    )


def crossovers(points: Sequence[Point]) -> Table:
    """Return from which sparsity on every implementation is faster than dense."""
    rivals = [p for p in points if p.case.implementation != BASELINE]
    numbers, text = [], []
    for members in group(rivals, *CONDITIONS, "phase", "batch", "size", "implementation").values():
        if (found := crossover(members)) is None:
            continue
        labels = labels_of(members[0])
        span = {"lowest measured": found.lowest, "highest measured": found.highest}
        numbers.append(labels | columns("crossover", found.sparsity) | span)
        text.append(
            labels
            | {
                "faster than dense from": units.crossing(found),
                "measured": f"{units.percent(found.lowest)} to {units.percent(found.highest)}",
            }
        )
    caption = "Sparsity from which on sparse is faster than dense, with its 95% interval"
    return Table("crossover", noted(caption, text), pd.DataFrame(numbers), tidy(text))


def _labels(members: Sequence[Point]) -> Row:
    labels = labels_of(members[0])
    labels.pop("implementation")
    return labels


def _cells(members: Sequence[Point], sparsities: Sequence[float]) -> Row:
    cells = {p.case.sparsity: p for p in members}
    return {units.percent(s): _speedup(cells.get(s)) for s in sparsities}


def _speedup(point: Point | None) -> str:
    if point is None:
        return ""
    if not point.ok:
        return point.record.status
    estimate = METRICS["speedup"].of(point)
    if estimate is None:
        return "no dense"
    return units.doubtful(units.interval(estimate), point.unsure)

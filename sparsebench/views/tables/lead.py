"""How far ahead of the other sparse implementations ours is, or behind."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsebench.analysis.baselines import fastest, over_point
from sparsebench.analysis.estimates import Estimate
from sparsebench.analysis.grouping import CONDITIONS, group
from sparsebench.analysis.point import BASELINE, LEAD, Point
from sparsebench.views import units
from sparsebench.views.tables.table import (
    LongTable,
    Row,
    Table,
    interval_columns,
    label_columns,
    labels_of,
)

# Dense in every step, the same library in another way, or a choice among others.
_NO_PEERS = (
    "masked", "masked_rigl", "reference", "rigl", "set", "auto", "openvino_sparse", LEAD,
    "ours_gather", "ours_bitmaps", "ours_graph",
)  # fmt: skip


def lead(points: Sequence[Point]) -> Table:
    """Return the time of the fastest peer over that of `ours`, one column per sparsity."""
    found = {p: _peers(p) for p in points if p.case.implementation == LEAD}
    ours = [p for p, peers in found.items() if peers]
    sparsities = sorted({p.case.sparsity for p in ours})
    layers = group(ours, *CONDITIONS, "phase", "batch", "size").values()
    ordered = [point for members in layers for point in members]
    numbers = label_columns(ordered)
    del numbers["implementation"]
    numbers["sparsity"] = [point.case.sparsity for point in ordered]
    numbers["fastest peer"] = [fastest(found[point]).case.implementation for point in ordered]
    numbers |= interval_columns("lead", [over_point(found[point], point) for point in ordered])

    def text(members: Sequence[Point]) -> Row:
        labels, shown = labels_of(members[0]), {}
        labels.pop("implementation")
        for point in members:
            peers = found[point]
            ratio, name = over_point(peers, point), fastest(peers).case.implementation
            shown[point.case.sparsity] = f"{units.interval(ratio)} {name}"
        return labels | {units.percent(s): shown.get(s, "") for s in sparsities}

    caption = "Time of the fastest other sparse implementation over that of `ours`, with its 95% "
    caption += "interval"
    return LongTable(
        "lead", caption, pd.DataFrame(numbers), lambda: list(map(text, layers)), len(layers)
    )


def ahead(point: Point) -> Estimate | None:
    """Return the time of the fastest peer over that of a point of `ours`."""
    peers = _peers(point) if point.case.implementation == LEAD else []
    return over_point(peers, point) if peers else None


def _peers(point: Point) -> list[Point]:
    """Return the timed points of other libraries' sparse layers on the same problem.

    Only where other work disturbed neither.
    """
    if not point.decides:
        return []
    return [
        p
        for name, p in point.rivals.items()
        if p.decides and name not in _NO_PEERS and not name.startswith(BASELINE)
    ]

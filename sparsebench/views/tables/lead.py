"""How far ahead of the other sparse implementations ours is, or behind."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsebench.analysis.baselines import fastest, over_point
from sparsebench.analysis.estimates import Estimate
from sparsebench.analysis.grouping import CONDITIONS, group
from sparsebench.analysis.point import BASELINE, LEAD, Point
from sparsebench.views import units
from sparsebench.views.tables.table import Table, columns, labels_of, noted, tidy

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
    numbers, text = [], []
    for members in group(ours, *CONDITIONS, "phase", "batch", "size").values():
        labels, shown = labels_of(members[0]), {}
        labels.pop("implementation")
        for point in members:
            peers = found[point]
            ratio, name = over_point(peers, point), fastest(peers).case.implementation
            row = labels | {"sparsity": point.case.sparsity, "fastest peer": name}
            numbers.append(row | columns("lead", ratio))
            shown[point.case.sparsity] = f"{units.interval(ratio)} {name}"
        text.append(labels | {units.percent(s): shown.get(s, "") for s in sparsities})
    caption = "Time of the fastest other sparse implementation over that of `ours`, with its 95% "
    caption += "interval"
    return Table("lead", noted(caption, text), pd.DataFrame(numbers), tidy(text))


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

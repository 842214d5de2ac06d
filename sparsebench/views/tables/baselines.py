"""What `ours` gains over nn.Linear, over the fastest dense layer, and over those of shorter types.

And what keeping the memory of gradients, or finding the weights in memory, makes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from sparsebench.analysis.baselines import exact_dense, fastest, is_dense, short_dense
from sparsebench.analysis.estimates import Estimate
from sparsebench.analysis.grouping import CONDITIONS, group
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.point import BASELINE, LEAD, Point
from sparsebench.views import units
from sparsebench.views.tables.table import Table, columns, labels_of, noted, tidy

# Over what, which metric says how much, and whose times are compared.
_OVER: tuple[tuple[str, str, Callable[[Point], list[Point]] | None], ...] = (
    ("nn.Linear", "speedup", None),
    ("fastest dense", "speedup_over_best_dense", exact_dense),
    ("dense in a shorter type", "speedup_over_short_dense", short_dense),
)


def baselines(points: Sequence[Point]) -> Table:
    """Return the speed-up of `ours` over each dense baseline, one column per sparsity.

    Where more than one dense layer was measured; a cell names the one that it is over.
    """
    ours = [p for p in points if p.case.implementation == LEAD and _several(p)]
    sparsities = sorted({p.case.sparsity for p in ours})
    numbers, text = [], []
    for members in group(ours, *CONDITIONS, "phase", "batch", "size").values():
        labels = labels_of(members[0])
        labels.pop("implementation")
        for over, metric, rivals in _OVER:
            shown = {}
            for point in members:
                if (estimate := METRICS[metric].of(point)) is None:
                    continue
                name = BASELINE if rivals is None else fastest(rivals(point)).case.implementation
                numbers.append(
                    labels
                    | {"over": over, "sparsity": point.case.sparsity, "dense": name}
                    | columns("speedup", estimate)
                )
                shown[point.case.sparsity] = _cell(point, estimate, name, named=rivals is not None)
            if shown:
                cells = {units.percent(s): shown.get(s, "") for s in sparsities}
                text.append(labels | {"over": over} | cells)
    caption = "Speed-up of `ours` over nn.Linear, over the fastest dense layer of the same type, "
    caption += "and over the fastest that multiplies in a shorter one, with its 95% interval"
    return Table("baselines", noted(caption, text), pd.DataFrame(numbers), tidy(text))


def dense_layers(points: Sequence[Point]) -> Table:
    """Return the time of every dense layer over that of nn.Linear: below 1, it is the faster one.

    A dense layer takes the same time at every sparsity: the lowest that was measured is shown.
    """
    dense = [
        p for p in points if is_dense(p.case.implementation) and p.case.implementation != BASELINE
    ]
    names = list(dict.fromkeys(p.case.implementation for p in dense))
    numbers, text = [], []
    for members in group(dense, *CONDITIONS, "phase", "batch", "size").values():
        lowest = min(p.case.sparsity for p in members)
        here = [p for p in members if p.case.sparsity == lowest]
        labels, shown = labels_of(here[0]), dict[str, str]()
        labels.pop("implementation")
        for point in here:
            name = point.case.implementation
            if not point.ok or point.baseline is None:
                shown[name] = point.record.status if not point.ok else "no dense"
                continue
            ratio = point.rounds.over(point.baseline.rounds)
            numbers.append(labels | {"implementation": name} | columns("relative time", ratio))
            shown[name] = units.doubtful(units.interval(ratio), point.unsure)
        linear = next((p.baseline for p in here if p.baseline is not None), None)
        time = "" if linear is None else units.bounded(linear.seconds, "s")
        text.append(labels | {"nn.Linear": time} | {name: shown.get(name, "") for name in names})
    caption = "Dense layers: the time of nn.Linear, and that of the others over it"
    return Table("dense", noted(caption, text), pd.DataFrame(numbers), tidy(text))


def _several(point: Point) -> bool:
    """Whether another dense layer than nn.Linear was measured beside it."""
    return any(p.case.implementation != BASELINE for p in exact_dense(point) + short_dense(point))


def _cell(point: Point, estimate: Estimate, name: str, *, named: bool) -> str:
    text = units.doubtful(units.interval(estimate), point.unsure if not named else point.disturbed)
    return f"{text} {name}" if named else text

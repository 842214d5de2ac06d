"""K-winners beside ReLU, which a dense network has in their place."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsebench.analysis.point import Point
from sparsebench.views import units
from sparsebench.views.tables.table import Table, columns, labels_of, noted, tidy


def k_winners(points: Sequence[Point]) -> Table:
    """Return the time of each way to compute k-winners, and over that of a ReLU of the units."""
    numbers, text = [], []
    for point in points:
        relu = point.baseline
        if point.case.operation != "k_winners" or not point.ok or relu is None or relu is point:
            continue
        over = point.rounds.over(relu.rounds)
        labels = labels_of(point) | {"sparsity": point.case.sparsity}
        numbers.append(
            labels
            | columns("time [s]", point.seconds)
            | columns("ReLU [s]", relu.seconds)
            | columns("over ReLU", over)
        )
        text.append(
            labels
            | {
                "sparsity": units.percent(point.case.sparsity),
                "time": units.doubtful(units.bounded(point.seconds, "s"), point.disturbed),
                "ReLU": units.doubtful(units.bounded(relu.seconds, "s"), relu.disturbed),
                "over ReLU": units.interval(over),
            }
        )
    caption = "Time of k-winners, and over that of a ReLU, by the share of units that are set to 0"
    return Table("k-winners", noted(caption, text), pd.DataFrame(numbers), tidy(text))

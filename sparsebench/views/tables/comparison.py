"""The table of a comparison: every case, before and after."""

from __future__ import annotations

import pandas as pd

from sparsebench.analysis.compare import Comparison
from sparsebench.views import units
from sparsebench.views.tables.table import Table, columns, labels_of, noted, tidy


def comparison(found: Comparison) -> Table:
    """Return a row for each pair, the largest ratio of times first."""
    numbers, text = [], []
    for pair in sorted(found.pairs, key=lambda pair: -pair.ratio[0]):
        ratio = pair.estimate
        about = labels_of(pair.a) | {"sparsity": pair.a.case.sparsity}
        times = {"A [s]": pair.a.seconds.value, "B [s]": pair.b.seconds.value}
        numbers.append(about | times | columns("B/A", ratio) | {"verdict": pair.verdict})
        shown = {name.split()[0]: units.quantity(value, "s") for name, value in times.items()}
        about["sparsity"] = units.percent(pair.a.case.sparsity)
        text.append(about | shown | {"B/A": units.interval(ratio), "verdict": pair.verdict})
    caption = "Time in B over time in A, with its 95% interval; below 1, B is faster"
    return Table("comparison", noted(caption, text), pd.DataFrame(numbers), tidy(text))

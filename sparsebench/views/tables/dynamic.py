"""What training costs whose connections change: a step, a rewiring, and both together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sparsebench.analysis.dynamics import EVERY, RIGLS_OWN, trainings
from sparsebench.analysis.estimates import Estimate
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.point import Point
from sparsebench.views import units
from sparsebench.views.tables.table import Row, Table, columns, labels_of, noted, tidy


def dynamic(points: Sequence[Point]) -> Table:
    """Return time and peak memory of a step and of a rewiring, and a step with its share of one."""
    numbers, text = [], []
    for training, dense in trainings(points):
        step, rewiring = training.step, training.rewiring
        labels = labels_of(step) | {"sparsity": step.case.sparsity}
        labels.pop("phase")
        alone = None if training.alone is None else Estimate.of(training.alone)
        shares = {every: Estimate.of(training.amortised(every)) for every in EVERY}
        over = None
        if dense is not None:
            over = Estimate.of(np.asarray(dense.step.time / training.amortised(RIGLS_OWN)))
        peak = METRICS["peak_memory"].of(rewiring or step)
        row = labels | columns("step [s]", step.seconds) | columns("rewiring [s]", alone)
        for every, share in shares.items():
            row |= columns(f"step of {every} [s]", share)
        row |= columns("over dense", over)
        numbers.append(row | {"peak [B]": None if peak is None else peak.value})
        shown: Row = {
            "sparsity": units.percent(step.case.sparsity),
            "step": units.doubtful(units.bounded(step.seconds, "s"), step.disturbed),
            "a rewiring": "" if alone is None else units.bounded(alone, "s"),
        }
        for every, share in shares.items():
            shown[f"1 rewiring in {every}"] = units.quantity(share.value, "s")
        shown["faster than dense"] = "" if over is None else units.interval(over)
        shown["peak"] = "" if peak is None else units.quantity(peak.value, "B")
        text.append(labels | shown)
    caption = (
        "A training step, what a rewiring adds to one, and a step with its share of one; how "
        f"much faster than a dense step at 1 in {RIGLS_OWN}; peak memory of the step that rewires"
    )
    return Table("dynamic", noted(caption, text), pd.DataFrame(numbers), tidy(text))

"""Tables of losses that are compared step by step. They never measure."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsebench.training.curves import CurvesRecord
from sparsebench.training.published import published, source
from sparsebench.views.tables import Table


def of(records: Sequence[CurvesRecord]) -> list[Table]:
    """Return the tables of losses compared step by step."""
    made = []
    for name, make in (("toy", _toy), ("same-training", _same_training)):
        if own := [record for record in records if record.experiment == name]:
            made.append(make(own))
    return made


def _toy(records: list[CurvesRecord]) -> Table:
    """Losses at the steps that were published, beside those."""
    theirs, rows = published()["toy"], []
    for record in records:
        for model, losses in record.losses.items():
            shown = losses[99::100]
            for number, loss in enumerate(shown):
                rows.append(
                    {
                        "model": model,
                        "seed": record.conditions["seed"],
                        "step": 100 * (number + 1),
                        "published": theirs[model][number],
                        "measured": loss,
                    }
                )
    frame = pd.DataFrame(rows)
    text = frame.assign(
        published=frame["published"].map("{:.3f}".format),
        measured=frame["measured"].map("{:.3f}".format),
    )
    caption = (
        "Two layers fitted to random outputs: sum of squared errors (other random numbers than "
        f"the published run's). Published: {source()}"
    )
    return Table("toy", caption, frame, text.astype(str))


def _same_training(records: list[CurvesRecord]) -> Table:
    """The largest relative difference of the losses of masked and sparse training."""
    rows = [
        {"case": record.case}
        | record.conditions
        | {
            "largest relative difference": max(
                abs(a - b) / abs(a)
                for a, b in zip(record.losses["masked"], record.losses["sparse"], strict=True)
            )
        }
        for record in records
    ]
    frame = pd.DataFrame(rows)
    shown = frame[["case", "dataset", "steps", "rewirings", "largest relative difference"]]
    text = shown.assign(
        **{"largest relative difference": shown.iloc[:, -1].map("{:.1e}".format)}
    ).astype(str)
    caption = "Masked dense against sparse training in float64: the losses of the same steps"
    return Table("same-training", caption, frame, text)

"""Question 1 as one table: kinds of net down, numbers of weights across."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sparsebench.training import experiment
from sparsebench.training.groups import Group, mean_and_deviation, spread
from sparsebench.training.settings import MLPSetting
from sparsebench.views import units
from sparsebench.views.tables import Table

EXPERIMENT = "same-weights"


def of(groups: Sequence[Group]) -> list[Table]:
    """Return the table of the full runs among the groups of this experiment; none without any.

    A sparse net stands in the column of the dense net with as many weights as it was asked for.
    Runs of several machines count together: machines differ in their times, and in rounding.
    """
    expected = {row.row: row for row in experiment.shipped(EXPERIMENT).rows}
    known = [
        group
        for group in groups
        if (row := expected.get(group.setting.row)) is not None
        and not row.differences(group.setting, ignoring=("seed", "threads", "device"))
        and group.finished
    ]
    if not known:
        return []
    pooled: dict[tuple[str, float], list[Group]] = {}
    for group in known:
        pooled.setdefault((kind_of(group), _sparsity(group)), []).append(group)
    cells: dict[str, dict[str, str]] = {}
    numbers: list[dict[str, Any]] = []
    for (kind, sparsity), members in pooled.items():
        accuracies = [accuracy for group in members for accuracy in group.accuracies()]
        mean, deviation = mean_and_deviation(accuracies)
        column = f"{units.percent(sparsity)}: {_weights(members[0]):,}"
        cells.setdefault(kind, {})[column] = spread(accuracies)
        numbers.append(
            {
                "kind": kind,
                "sparsity": sparsity,
                "weights": members[0].finished[0].weights,
                "runs": len(accuracies),
                "accuracy [%]": mean,
                "accuracy deviation": deviation,
            }
        )
    text = pd.DataFrame.from_dict(cells, orient="index").fillna("not measured")
    text = text[sorted(text.columns)].rename_axis("net").reset_index()
    runs = sorted({row["runs"] for row in numbers})
    seeds = f"{runs[0]} to {runs[-1]}" if len(runs) > 1 else str(runs[0])
    caption = (
        "As many weights: test accuracy in percent on MNIST after 10 epochs, by sparsity and "
        f"number of weights, {seeds} seed{'' if seeds == '1' else 's'}"
    )
    return [Table("weights", caption, pd.DataFrame(numbers), text)]


def kind_of(group: Group) -> str:
    """Return the name of a row without its size."""
    setting = group.setting
    return "dense, narrow" if setting.model == "dense" else setting.row.rsplit(" ", 1)[0]


def _sparsity(group: Group) -> float:
    setting = group.setting
    if isinstance(setting, MLPSetting) and setting.model == "dense":
        return round(1 - setting.width / _wide(), 9)
    return setting.sparsity


def _weights(group: Group) -> int:
    """How many weights the dense net of the group's column has."""
    return (784 + 10) * round(_wide() * (1 - _sparsity(group)))


def _wide() -> int:
    """The width of the sparse nets."""
    rows = experiment.shipped(EXPERIMENT).rows
    (width,) = {r.width for r in rows if isinstance(r, MLPSetting) and r.model != "dense"}
    return width

"""What structure costs in accuracy, as a table: each beside unstructured, equally sparse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sparsebench.training.groups import Group, mean_and_deviation, spread
from sparsebench.training.settings import MLPSetting
from sparsebench.training.views.structures_plot import structure_of
from sparsebench.views import units
from sparsebench.views.tables import Table

_METHODS = {"none": "static", "rigl": "RigL"}


def of(name: str, own: Sequence[Group]) -> list[Table]:
    """Return the table of the groups of one experiment, for each dataset and machine."""
    made = []
    places = {(group.setting.dataset, group.machine) for group in own}
    for dataset, machine in sorted(places):
        members = [g for g in own if (g.setting.dataset, g.machine) == (dataset, machine)]
        numbers = [row for group in members if (row := _row(group, members)) is not None]
        if not numbers:
            continue
        frame = pd.DataFrame(numbers).sort_values(
            ["sparsity", "method", "accuracy [%]"], ascending=[True, True, False]
        )
        epochs = members[0].setting.epochs
        caption = (
            f"{name}: test accuracy in percent on {dataset} after {epochs} epochs, the mean over "
            "seeds and its deviation, and how much that is above unstructured connections of the "
            "same sparsity and method"
        )
        several = len({place for place in places if place[0] == dataset}) > 1
        file = f"{name}-{dataset}-structures" + (f"-{machine}".replace(" ", "-") * several)
        made.append(Table(file, caption, frame.drop(columns="shown"), _shown(frame)))
    return made


def _row(group: Group, own: Sequence[Group]) -> dict[str, Any] | None:
    setting = group.setting
    assert isinstance(setting, MLPSetting)
    if not group.finished or setting.model != "sparse" or setting.rewiring not in _METHODS:
        return None
    accuracies = group.accuracies()
    plain = next((g for g in own if g.finished and _is_plain(g.setting, setting)), None)
    mean, deviation = mean_and_deviation(accuracies)
    return {
        "structure": structure_of(group),
        "sparsity": setting.sparsity,
        "method": _METHODS[setting.rewiring],
        "accuracy [%]": mean,
        "deviation": deviation,
        "against unstructured": None
        if plain is None
        else mean - mean_and_deviation(plain.accuracies())[0],
        "runs": len(accuracies),
        "weights": group.runs[0].weights,
        "seconds per epoch": group.seconds_per_epoch,
        "peak memory [B]": group.peak_memory,
        "shown": spread(accuracies),
    }


def _is_plain(other: object, setting: MLPSetting) -> bool:
    """Whether `other` is unstructured, and else as `setting`."""
    return (
        isinstance(other, MLPSetting)
        and other.structure == "unstructured"
        and other.model == setting.model
        and (other.sparsity, other.rewiring) == (setting.sparsity, setting.rewiring)
    )


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    def text(value: Any, style: Any) -> str:
        return "" if value is None or pd.isna(value) else str(style(value))

    return pd.DataFrame(
        {
            "structure": frame["structure"],
            "sparsity": frame["sparsity"].map(units.percent),
            "method": frame["method"],
            "accuracy": frame["shown"],
            "against unstructured": [
                text(v, "{:+.2f}".format) for v in frame["against unstructured"]
            ],
            "s/epoch": [text(v, "{:.2f}".format) for v in frame["seconds per epoch"]],
            "peak memory": [
                text(v, lambda b: units.quantity(b, "B")) for v in frame["peak memory [B]"]
            ],
            "weights": frame["weights"].map("{:,}".format),
        }
    )

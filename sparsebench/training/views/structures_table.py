"""What structure costs in accuracy, as a table: each beside unstructured, equally sparse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sparsebench.training.groups import Group, dataset_of, mean_and_deviation, spread
from sparsebench.training.views.structured import (
    METHODS,
    Structured,
    structure_of,
    structured,
    trained,
)
from sparsebench.views import units
from sparsebench.views.tables import Table


def of(name: str, own: Sequence[Group]) -> list[Table]:
    """Return the tables of one experiment's groups: of each set of images and machine two.

    Groups are one for all machines where they are to count together.
    """
    made = []
    places = {(dataset_of(group.setting), group.machine) for group in own}
    for dataset, machine in sorted(places):
        members = [g for g in own if (dataset_of(g.setting), g.machine) == (dataset, machine)]
        numbers = [row for group in members if (row := _row(group, members)) is not None]
        if not numbers:
            continue
        frame = pd.DataFrame(numbers).sort_values(
            ["sparsity", "method", "accuracy [%]"], ascending=[True, True, False]
        )
        about = f"{name}: test accuracy in percent on {trained(members)}"
        caption = (
            f"{about}; the mean over seeds and its deviation, and how much that is above "
            "unstructured connections of the same sparsity and method"
        )
        several = len({place for place in places if place[0] == dataset}) > 1
        file = f"{name}-{dataset}-structures" + (f"-{machine}".replace(" ", "-") * several)
        made.append(Table(file, caption, frame.drop(columns="shown"), _shown(frame)))
        made.append(_by_sparsity(file, about, frame))
    return made


def _by_sparsity(file: str, caption: str, frame: pd.DataFrame) -> Table:
    """A line for each structure and method, with a column for each sparsity."""
    columns = {level: units.percent(level) for level in sorted(frame["sparsity"].unique())}
    order = dict.fromkeys(zip(frame["method"], frame["structure"], strict=True))
    plain = [place for place in order if place[1] == "unstructured"]
    lines = sorted(order, key=lambda place: (place[0], place not in plain))
    cells = {(r["method"], r["structure"], r["sparsity"]): r for r in frame.to_dict("records")}

    def table(field: str, missing: object) -> pd.DataFrame:
        return pd.DataFrame(
            {"structure": structure, "method": method}
            | {
                shown: cells.get((method, structure, level), {field: missing})[field]
                for level, shown in columns.items()
            }
            for method, structure in lines
        )

    seeds = sorted({r["runs"] for r in cells.values()})
    of = f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else f"{seeds[0]} seeds"
    about = f"{caption}: by sparsity, {'one seed' if seeds == [1] else f'the mean over {of}'}"
    return Table(f"{file}-by-sparsity", about, table("accuracy [%]", None), table("shown", ""))


def _row(group: Group, own: Sequence[Group]) -> dict[str, Any] | None:
    setting = structured(group.setting)
    if not group.finished or setting.model != "sparse" or setting.rewiring not in METHODS:
        return None
    accuracies = group.accuracies()
    plain = next((g for g in own if g.finished and _is_plain(g.setting, setting)), None)
    mean, deviation = mean_and_deviation(accuracies)
    return {
        "structure": structure_of(group),
        "sparsity": setting.sparsity,
        "method": METHODS[setting.rewiring],
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


def _is_plain(other: object, setting: Structured) -> bool:
    """Whether `other` is unstructured, and else as `setting`."""
    return (
        isinstance(other, Structured)
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

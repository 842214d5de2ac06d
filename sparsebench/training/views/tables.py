"""Tables of training records. They never measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from sparsebench.training import experiment
from sparsebench.training.groups import (
    Group,
    across_machines,
    alike,
    groups,
    kind_name,
    mean_and_deviation,
    spread,
)
from sparsebench.training.mlp import PIXELS, REPEATS
from sparsebench.training.published import curve, source
from sparsebench.training.records import TrainingRecord
from sparsebench.training.settings import MLPSetting, Setting, names_of
from sparsebench.training.views import (
    cifar_tables,
    dense_table,
    race_plot,
    structured,
    structures_table,
    text_table,
    topology_table,
    tuning_table,
    weights_table,
)
from sparsebench.views import units
from sparsebench.views.tables import Table

Row = dict[str, Any]

_SHORT = {"seconds per epoch": "s/epoch", "peak memory [B]": "peak memory"}


# The epochs, counted from 1, that are compared with published ones.
_COMPARED = {"mnist": (8, 9), "wide": (6,)}


def of_training(records: Sequence[TrainingRecord]) -> list[Table]:
    """Return every table for which `records` have something to say."""
    made = cifar_tables.of(records) + text_table.of(records)
    every = groups([record for record in records if isinstance(record.setting, MLPSetting)])
    for name in dict.fromkeys(group.setting.experiment for group in every):
        own = [group for group in every if group.setting.experiment == name]
        if name in (*structured.EXPERIMENTS, *race_plot.EXPERIMENTS):
            own = across_machines(own)
        made += _published(name, [g for g in own if comparable(g.setting)])
        made += _others(name, [g for g in own if not comparable(g.setting)])
        made += dense_table.of(name, own)
        made += topology_table.of(name, own)
        made += tuning_table.of(name, across_machines(own))
        if name == "same-weights":
            made += weights_table.of(own)
    trained = groups(records)
    for name in structured.EXPERIMENTS:
        own = [group for group in trained if group.setting.experiment == name]
        made += structures_table.of(name, across_machines(own))
    made += _failures(records)
    return made


def comparable(setting: Setting) -> bool:
    """Whether `setting` is what was published: the row unchanged, on all of MNIST, as long."""
    rows = experiment.shipped(setting.experiment).rows if setting.experiment in _COMPARED else ()
    row = next((row for row in rows if row.row == setting.row), None)
    ignored = ("seed", "threads", "device")
    return (
        row is not None
        and setting.dataset == "mnist"
        and not row.differences(setting, ignoring=ignored)
    )


def _published(name: str, own: list[Group]) -> list[Table]:
    """Published figures, measured ones and their difference."""
    if not own:
        return []
    compared = _COMPARED[name]
    epochs = " and ".join(map(str, compared))
    numbers, text = [], []
    for group in own:
        theirs = _mean([curve(name, group.setting.row)[epoch - 1] for epoch in compared])
        ours, last = group.accuracies(compared), group.accuracies()
        difference = _mean(ours) - theirs if ours else None
        numbers.append(
            _labels(group)
            | {"published [%]": theirs}
            | _columns("measured", ours)
            | {"difference": difference}
            | _columns("last epoch", last)
            | _costs(group)
        )
        text.append(
            {
                "row": group.setting.row,
                "published": f"{theirs:.2f}",
                "measured": spread(ours) or _fate(group),
                "difference": "" if difference is None else f"{difference:+.2f}",
                f"epoch {group.setting.epochs}": spread(last),
            }
            | _shown_costs(group)
            | _machine(group, own)
        )
    if name == "wide":
        text.append(_dense_wide())
    caption = (
        f"{name.upper() if name == 'mnist' else 'Very wide net'}: test accuracy in percent at "
        f"epoch {epochs}, {_seeds(own)}, all 10,000 test images; published: {source()}, one run, "
        f"9,984 test images"
    )
    return [Table(f"{name}", f"{caption}{_timing(own)}", pd.DataFrame(numbers), _frame(text))]


def _others(name: str, own: list[Group]) -> list[Table]:
    """Runs that nothing was published for, one table for each dataset and length."""
    made = []
    for members in alike(own):
        of = members[0].setting
        dataset, epochs, held_out = of.dataset, of.epochs, of.held_out
        members.sort(key=lambda g: (g.setting.sparsity, -_mean(g.accuracies() or [0.0])))
        text = [
            {
                "row": group.setting.row,
                "sparsity": ""
                if group.setting.model == "dense"
                else units.percent(group.setting.sparsity),
                "accuracy": spread(group.accuracies()) or _fate(group),
                "runs": str(len(group.finished)),
            }
            | _shown_costs(group)
            | _machine(group, members)
            for group in members
        ]
        numbers = [_labels(g) | _columns("accuracy", g.accuracies()) | _costs(g) for g in members]
        on = f"the last {held_out:,} training images of {dataset}" if held_out else dataset
        caption = f"{name}: accuracy in percent on {on} after {_count(epochs, 'epoch')}"
        if name in ("mnist", "wide") and any(map(_altered, members)):
            caption += ": NOT COMPARABLE with published figures"
        if dataset.endswith("-subset"):
            caption += " (a SUBSET of the data)"
        file = f"{name}-{kind_name(of)}"
        caption += _timing(members)
        made.append(Table(file, caption, pd.DataFrame(numbers), _frame(text)))
    return made


def _altered(group: Group) -> bool:
    """Whether a reader could take the group for what was published, which it is not."""
    return group.setting.row != "masked" or group.setting.dataset != "mnist"


def _failures(records: Sequence[TrainingRecord]) -> list[Table]:
    rows = [
        {
            "experiment": record.setting.experiment,
            "row": record.setting.row,
            "seed": str(record.setting.seed),
            "status": record.status,
            "why": record.message,
        }
        for record in records
        if record.status != "ok"
    ]
    frame = pd.DataFrame(rows)
    return [Table("training-failures", "Runs that did not end, and why", frame, frame)] * bool(rows)


def _labels(group: Group) -> Row:
    ignored = ("seed", "threads")
    names = (name for name in names_of(type(group.setting)) if name not in ignored)
    kept = {name: getattr(group.setting, name) for name in names}
    kept["connections"] = kept.pop("topology")
    return {"machine": group.machine} | kept


def _columns(name: str, values: Sequence[float]) -> Row:
    mean, deviation = mean_and_deviation(values) if values else (None, None)
    return {f"{name} [%]": mean, f"{name} deviation": deviation, f"{name} runs": len(values)}


def _costs(group: Group) -> Row:
    first = (*group.runs, *group.timed)[0]
    return {
        "parameters": first.parameters,
        "weights": first.weights,
        "seconds per epoch": group.seconds_per_epoch,
        "peak memory [B]": group.peak_memory,
    }


def _shown_costs(group: Group) -> Row:
    cost = _costs(group)
    shown: dict[str, Callable[[Any], str]] = {
        "parameters": lambda n: f"{n:,}",
        "seconds per epoch": lambda s: f"{s:.2f}",
        "peak memory [B]": lambda b: units.quantity(b, "B"),
    }
    return {
        _SHORT.get(name, name): "not measured" if cost[name] is None else style(cost[name])
        for name, style in shown.items()
    }


def _machine(group: Group, own: Sequence[Group]) -> Row:
    """Say where a row was measured, in a table that speaks of several machines."""
    several = len({other.machine for other in own}) > 1
    return {"machine": group.machine} if several else {}


def _dense_wide() -> Row:
    (row,) = experiment.shipped("wide").rows
    assert isinstance(row, MLPSetting)
    weights = PIXELS * REPEATS * row.width + 4 * row.width**2
    return {
        "row": "the same net, dense",
        "measured": "cannot be held",
        "parameters": f"{weights:,}",
        "peak memory": f"{units.quantity(4 * weights, 'B')} for weights alone",
    }


def _fate(group: Group) -> str:
    fates = (f"{count} {status}" for status, count in group.failed.items())
    return ", ".join(fates) or "not yet measured"


def _seeds(own: Sequence[Group]) -> str:
    counts = sorted({len(group.finished) for group in own})
    if counts == [0]:
        return "not yet measured"
    if len(counts) == 1:
        return _count(counts[0], "seed")
    return f"{counts[0]} to {counts[-1]} seeds"


def _timing(own: Sequence[Group]) -> str:
    """Say how the seconds of a table were measured."""
    threads = sorted({n for group in own for n in group.threads})
    if not threads:
        return "; times not measured"
    methods = sorted(
        {run.timing.method for group in own for run in group.timed if run.timing is not None}
    )
    count = " or ".join(_count(n, "thread") for n in threads)
    return f"; seconds of training alone on {count}, {' or '.join(methods)}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _frame(rows: list[Row]) -> pd.DataFrame:
    """Return rows of text, without the times where no row has one."""
    frame = pd.DataFrame(rows).fillna("").astype(str)
    if "s/epoch" in frame and set(frame["s/epoch"]) <= {"", "not measured"}:
        frame = frame.drop(columns="s/epoch")
    return frame

"""What pruned networks regain while they train on, against minutes. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure

from sparsebench.training.records import TrainingRecord
from sparsebench.training.settings import CifarSetting
from sparsebench.training.views import structured
from sparsebench.training.views.cifar_tables import (
    clock_of,
    conditions,
    dense_runs,
    kind_of,
    runs,
    timed_runs,
)
from sparsebench.views.plots.style import BLACK, COLOURS, GREY, plain_head

LEAST = 3  # ways to go on: two of them are masks beside sparse storage, which have a figure


def of(records: Sequence[TrainingRecord]) -> Iterator[tuple[str, Figure]]:
    """Yield a file name and a figure for each network, machine and size with several ways."""
    kinds: dict[tuple[object, ...], list[TrainingRecord]] = {}
    for record in records:
        setting = record.setting
        if isinstance(setting, CifarSetting) and setting.experiment not in structured.EXPERIMENTS:
            kinds.setdefault(kind_of(record), []).append(record)
    several = len(kinds) > len({kind[0] for kind in kinds})
    for number, own in enumerate(kinds.values()):
        if figure := _figure(own):
            name = f"{own[0].setting.experiment}-recovery"
            yield name + (f"-{number + 1}" if several else ""), figure


def _figure(own: list[TrainingRecord]) -> Figure | None:
    """Draw the accuracy after each epoch against the minutes since pruning began, a run a row."""
    steps = timed_runs(own)
    curves = [
        (run, clock)
        for run in {run.setting.row: run for run in runs(own)}.values()
        if isinstance(run.setting, CifarSetting) and run.setting.start
        if (clock := clock_of(run, steps.get(run.setting.row)))
    ]
    if len(curves) < LEAST:
        return None
    figure = Figure(figsize=(8.6, 4.0), layout="constrained")
    axes = figure.subplots()
    colours = cycle(COLOURS)
    for run, clock in curves:
        masked = run.setting.model == "masked"
        gradual = run.setting.columns["pruning"] == "gradual"
        axes.plot(
            np.array(clock) / 60,
            [100 * epoch.accuracy for epoch in run.epochs],
            color=GREY if masked else next(colours),
            linestyle="--" if gradual else "-",
            marker="s" if masked else "o",
            markersize=3,
            label=run.setting.row,
        )
    for run in dense_runs(own)[:1]:
        last = 100 * run.epochs[-1].accuracy
        label = f"dense, with which all begin: {last:.1f}"
        axes.axhline(last, color=BLACK, linestyle=":", label=label)
    axes.set(xlabel="minutes of training", ylabel="test accuracy in percent")
    axes.set_xlim(left=0)
    axes.margins(y=0.06)
    figure.legend(loc="outside right upper", fontsize="small")
    text = conditions(own).replace(", tested", ",\ntested", 1)
    plain_head(figure, "Pruned, and trained on: what is regained, and when", text)
    return figure

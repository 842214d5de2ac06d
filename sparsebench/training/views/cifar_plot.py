"""Plots of the networks pruned on CIFAR-10. They never measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sparsebench.training.records import TrainingRecord
from sparsebench.training.settings import CifarSetting
from sparsebench.training.views.cifar_tables import (
    conditions,
    dense_runs,
    kind_of,
    pruned_runs,
)
from sparsebench.views.plots.style import BLACK, GREY, VERMILION, plain_head

_POINTS = 200  # how many a curve of losses has at least: beyond twice as many, means of some steps
_LOOKS = {"masked": (GREY, "s", "masks"), "sparse": (VERMILION, "o", "sparse storage")}
TITLES = {
    "cifar-vgg": "Pruned to 95% while it trains: masks against sparse storage",
    "cifar-resnet": "Fine-tuned at 95%: masks against the sparse layers that are faster",
    "real-size-vgg": "Pruned to 95% while it trains: masks against sparse storage",
    "real-size-resnet": "Pruned to 95% while it trains: masks against sparse storage",
}


def of(records: Sequence[TrainingRecord]) -> Iterator[tuple[str, Figure]]:
    """Yield a file name and a figure for each network, machine and size."""
    kinds: dict[tuple[object, ...], list[TrainingRecord]] = {}
    for record in records:
        if isinstance(record.setting, CifarSetting):
            kinds.setdefault(kind_of(record), []).append(record)
    several = len(kinds) > len({kind[0] for kind in kinds})
    for number, own in enumerate(kinds.values()):
        pruned = pruned_runs(own)
        if set(pruned) == set(_LOOKS):
            name = own[0].setting.experiment
            yield name + (f"-{number + 1}" if several else ""), _figure(own, pruned)


def _figure(own: list[TrainingRecord], pruned: Mapping[str, TrainingRecord]) -> Figure:
    """Losses of every step, and what every epoch gave and took."""
    timed = all(epoch.seconds is not None for r in pruned.values() for epoch in r.epochs)
    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    (losses, accuracies), (seconds, held) = figure.subplots(2, 2)
    for model, record in sorted(pruned.items()):
        colour, marker, label = _LOOKS[model]
        # An epoch that was not recorded step by step has its mean alone.
        per_step = [loss for epoch in record.epochs for loss in epoch.losses or [epoch.loss]]
        each = max(1, len(per_step) // _POINTS)
        means = np.array(per_step[: len(per_step) // each * each]).reshape(-1, each).mean(axis=1)
        wide = 3.6 if model == "masked" else 1.2
        places = each * np.arange(1, len(means) + 1)
        losses.plot(places, means, color=colour, linewidth=wide, label=label)
        epochs = np.arange(1, len(record.epochs) + 1)
        look = {"color": colour, "marker": marker, "label": label}
        accuracies.plot(epochs, [100 * epoch.accuracy for epoch in record.epochs], **look)
        if timed:
            seconds.plot(epochs, [epoch.seconds or 0.0 for epoch in record.epochs], **look)
        held.plot(epochs, [(epoch.held or 0) / 1e6 for epoch in record.epochs], **look)
    if dense := dense_runs(own):
        last = dense[-1].epochs[-1]
        look = {"color": BLACK, "linestyle": ":", "label": "dense"}
        accuracies.axhline(100 * last.accuracy, **look)
        accuracies.margins(y=0.08)
        held.axhline((last.held or 0) / 1e6, **look)
        times = [e.seconds for e in dense[-1].epochs if e.seconds is not None]
        if timed and times:
            seconds.axhline(float(np.median(times)), **look)
    levels = [epoch.sparsity or 0.0 for epoch in pruned["sparse"].epochs]
    if len({round(level, 3) for level in levels}) > 1:
        ticks = [f"{n}\n{100 * level:.0f}%" for n, level in enumerate(levels, start=1)]
        for axes in (accuracies, seconds, held):
            axes.set_xticks(range(1, len(levels) + 1), ticks)
        below = "epoch, and sparsity during it"
    else:
        below = "epoch"
        for axes in (accuracies, seconds, held):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    xlabel = f"step; means of {each}" if each > 1 else "step"
    losses.set(xlabel=xlabel, ylabel="training loss")
    accuracies.set(xlabel=below, ylabel="test accuracy in percent")
    seconds.set(xlabel=below, ylabel="seconds of an epoch")
    held.set(xlabel=below, ylabel="held while training, MB")
    seconds.set_ylim(bottom=0)
    held.set_ylim(bottom=0)
    if not timed:
        seconds.set_visible(False)
    over_lines = {"frameon": True, "framealpha": 1.0, "edgecolor": "none"}
    held.legend(*accuracies.get_legend_handles_labels(), loc="best", **over_lines)
    losses.legend()
    text = conditions(own).replace(", tested", ",\ntested", 1)
    name = own[0].setting.experiment
    plain_head(figure, TITLES.get(name, f"{name}: masks against sparse storage"), text)
    return figure

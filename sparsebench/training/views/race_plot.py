"""Accuracy against seconds, method by method, with what the dense net ends with beside it."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.training.groups import Group
from sparsebench.views import units
from sparsebench.views.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    plain_head,
)

EXPERIMENTS = ("ultra-sparse-mnist", "ultra-sparse-fashion")
_COLOURS = (VERMILION, BLUE, GREEN, ORANGE, PURPLE, SKY)


def draw(own: Sequence[Group]) -> Figure:
    """Return a figure of the groups of one experiment, one panel for each sparsity.

    x is the seconds of training alone where all groups have them, else epochs. The dense net is in
    each panel: its curve, and a line at its last accuracy.
    """
    dense = [group for group in own if group.setting.model == "dense"]
    sparse = [group for group in own if group.setting.model != "dense"]
    levels = sorted({group.setting.sparsity for group in sparse} or {0.0})
    timed = all(group.seconds_per_epoch is not None for group in own)
    figure = Figure(figsize=(3.4 * len(levels) + 0.6, 4.2), layout="constrained")
    panels = figure.subplots(1, len(levels), sharey=True, squeeze=False)[0]
    for axes, level in zip(panels, levels, strict=True):
        for group in dense:
            _curve(axes, group, BLACK, "-", "dense", timed=timed)
            axes.axhline(statistics.fmean(group.accuracies()), color=BLACK, linewidth=0.6)
        members = [group for group in sparse if group.setting.sparsity == level]
        looks = itertools.product(("-", "--", ":"), _COLOURS)
        for group, (style, colour) in zip(members, itertools.cycle(looks), strict=False):
            name = group.setting.row.rsplit(" ", 1)[0]
            _curve(axes, group, colour, style, name, timed=timed)
        axes.set_title(f"{units.percent(level)} sparse")
        axes.set_xlabel("seconds of training" if timed else "epochs")
        axes.legend(loc="lower right", fontsize="x-small")
    panels[0].set_ylabel("test accuracy in percent")
    runs = max(len(group.finished) for group in own)
    setting = own[0].setting
    plain_head(
        figure,
        "Accuracy by method, and what the dense net ends with",
        f"{setting.dataset}, {setting.epochs} epochs, the mean of up to {runs} seeds",
    )
    return figure


def _curve(axes: Axes, group: Group, colour: str, style: str, label: str, *, timed: bool) -> None:
    curves = [[100 * epoch.accuracy for epoch in run.epochs] for run in group.finished]
    means = np.mean(curves, axis=0)
    each = (group.seconds_per_epoch or 1.0) if timed else 1.0
    x = each * np.arange(1, len(means) + 1)
    axes.plot(x, means, style, color=colour, label=label, linewidth=1.2)

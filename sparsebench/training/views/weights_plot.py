"""Question 1 as a picture: error against the number of weights, a line a kind of net."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from sparsebench.training.groups import Group, mean_and_deviation
from sparsebench.training.views.weights_table import kind_of
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

_DENSE = "dense, narrow"
_KINDS = {
    "connections that stay": {
        "random, both layers alike": (ORANGE, "v"),
        "random": (VERMILION, "o"),
        "user connectivity": (SKY, "P"),
        "small-world": (GREEN, "D"),
    },
    "connections that move": {
        "SET": (PURPLE, "^"),
        "MEST": (ORANGE, "v"),
        "RigL": (BLUE, "X"),
        "GSE": (SKY, "P"),
        "momentum growth": (VERMILION, "o"),
        "CHTs": (GREEN, "D"),
    },
}
_TICKS = 1.5, 2, 3, 4, 6, 8, 12  # percent of the test images


def draw(own: Sequence[Group], conditions: str) -> Figure | None:
    """Draw the kinds of net that are among the groups; None where there is no sparse one.

    Errors are on a logarithmic scale: near the best accuracies are close, and errors are not.
    """
    found = {kind_of(group) for group in own}
    panels = {title: looks for title, looks in _KINDS.items() if found & looks.keys()}
    if not panels:
        return None
    figure = Figure(figsize=(3.9 * len(panels) + 0.6, 3.8), layout="constrained")
    every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, looks) in zip(every, panels.items(), strict=True):
        _panel(axes, own, {_DENSE: (BLACK, "s")} | looks)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("weights")
    every[0].set_ylabel("wrong test images in percent")
    title = "The same number of weights: wide and sparse, or narrow and dense"
    plain_head(figure, title, conditions)
    return figure


def _panel(axes: Axes, own: Sequence[Group], looks: dict[str, tuple[str, str]]) -> None:
    ticks: set[int] = set()
    for number, (name, (colour, marker)) in enumerate(looks.items()):
        members = [group for group in own if kind_of(group) == name]
        if not members:
            continue
        members.sort(key=lambda group: group.runs[0].weights)
        weights = [group.runs[0].weights for group in members]
        errors = [mean_and_deviation([100 - each for each in g.accuracies()]) for g in members]
        # A little apart, so that the bars of equal weights do not hide each other.
        shifted = np.array(weights) * 1.02 ** (number - len(looks) / 2)
        axes.errorbar(
            shifted,
            [mean for mean, _ in errors],
            yerr=[deviation or 0.0 for _, deviation in errors],
            color=colour,
            marker=marker,
            markersize=5,
            linestyle="--" if name == _DENSE else "-",
            linewidth=1.2,
            capsize=2,
            elinewidth=0.8,
            label=name,
        )
        ticks.update(weights if name == _DENSE or not ticks else ())
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(FixedLocator(_TICKS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.legend(loc="upper right", fontsize=8)

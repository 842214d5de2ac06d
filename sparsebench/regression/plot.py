"""The plot of a history of checks: a panel for each workload, ratios over commits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sparsebench.regression.history import BASE, Entry, commits
from sparsebench.views.plots import style
from sparsebench.views.plots.axes import ratio_axis

_COLUMNS = 3
_LABELS = 12  # more commits than this are not all named


def history(entries: Sequence[Entry]) -> Figure:
    """Return a figure of all ratios; several of one commit stand above each other.

    A dotted line is where they changed.
    """
    order = commits(entries)
    panels = list(dict.fromkeys((e.workload, e.measure) for e in entries))
    rows = math.ceil(len(panels) / _COLUMNS)
    with style.styled():
        figure = Figure(figsize=(9.0, 1.3 + 1.75 * rows), layout="constrained")
        grid = figure.subplots(rows, _COLUMNS, sharex=True, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _panel(axes, [e for e in entries if (e.workload, e.measure) == panel], order)
            axes.set_title(f"{panel[0]}, {panel[1]}", loc="left")
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        for column in range(_COLUMNS):
            shown = [axes for axes in grid[:, column] if axes.get_visible()]
            if shown:
                _name(shown[-1], order)
        against = list(dict.fromkeys(e.against for e in entries))
        figure.legend(
            handles=[Line2D([], [], label=_label(name), **_look(name)) for name in against],
            loc="outside upper left", ncols=len(against), alignment="left",
            title="Ratios by commit (below 1 is better)", title_fontproperties={"weight": "bold"},
        )  # fmt: skip
        machines = ", ".join(dict.fromkeys(e.machine for e in entries if e.machine))
        figure.supxlabel(machines, x=0.99, ha="right", fontsize=7.5, color="#555555")
    return figure


def _panel(axes: Axes, entries: Sequence[Entry], order: Sequence[str]) -> None:
    for against in dict.fromkeys(e.against for e in entries):
        own = [e for e in entries if e.against == against]
        places = [order.index(e.commit) for e in own]
        axes.plot(places, [e.ratio for e in own], **_look(against))
        for place, entry in zip(places, own, strict=True):
            if entry.change is not None:
                axes.axvline(place - 0.5, color=_look(against)["color"], linestyle=":")
            if entry.low is not None and entry.high is not None:
                axes.plot(
                    [place, place], [entry.low, entry.high],
                    color=_look(against)["color"], linewidth=1.0,
                )  # fmt: skip
    values = [v for e in entries for v in (e.ratio, e.low, e.high) if v is not None]
    ratio_axis(axes, min(*values, 0.8) / 1.15, max(*values, 1.25) * 1.15)
    axes.axhline(1, color="black", linewidth=0.8, zorder=1)
    axes.set_xlim(-0.5, len(order) - 0.5)


def _name(axes: Axes, order: Sequence[str]) -> None:
    step = math.ceil(len(order) / _LABELS)
    places = list(range(0, len(order), step))
    axes.tick_params(labelbottom=True)
    axes.set_xticks(places, [order[p].replace(" with changes", "+") for p in places],
                    rotation=45, ha="right", fontsize=7)  # fmt: skip


def _look(against: str) -> dict[str, Any]:
    return style.of("ours" if against == BASE else against)


def _label(against: str) -> str:
    return "head over base" if against == BASE else f"ours over {against}"

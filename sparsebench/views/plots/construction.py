"""How long it takes to make a layer, by its number of connections: a line for each topology."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sparsebench.analysis.grouping import CONDITIONS, group, split
from sparsebench.analysis.point import LEAD, Point
from sparsebench.views.plots import style
from sparsebench.views.plots.axes import number_axis, quantity_axis

_SHARED = tuple(name for name in CONDITIONS if name != "topology")
_COLOURS = (
    style.VERMILION, style.BLUE, style.GREEN, style.ORANGE, style.SKY, style.PURPLE, style.GREY,
)  # fmt: skip
_MARKS = "osD^vPX<>h"


def construction(points: Sequence[Point]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure of the layers that were made; connections along x."""
    made = [p for p in points if p.case.phase == "construction" and p.ok]
    made = [p for p in made if p.case.implementation == LEAD]
    for part in split(made, conditions=_SHARED):
        name = "-".join(filter(None, ("construction", part.name)))
        yield name, _figure(part.points, part.title)


def _figure(points: Sequence[Point], conditions: str) -> Figure:
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.subplots()
    handles = []
    for number, ((topology,), members) in enumerate(group(points, "topology").items()):
        ordered = sorted(members, key=lambda p: p.case.nnz)
        look: dict[str, Any] = {
            "color": _COLOURS[number % len(_COLOURS)],
            "marker": _MARKS[number % len(_MARKS)],
            "linestyle": ":" if number >= len(_COLOURS) else "-",
        }
        axes.plot([p.case.nnz for p in ordered], [p.seconds.value for p in ordered], **look)
        handles.append(Line2D([], [], label=topology, **look))
        places = [(float(p.case.nnz), p.seconds.value) for p in ordered if p.disturbed]
        style.hollow(axes, places, look)
    quantity_axis(axes, "s")
    number_axis(axes)
    axes.set_xlabel("connections")
    axes.set_ylabel("time to make a layer")
    conditions = style.with_hollow(conditions, any(p.disturbed for p in points))
    style.head(figure, "Making a SparseLinear, by its topology", conditions, (), *handles)
    return figure

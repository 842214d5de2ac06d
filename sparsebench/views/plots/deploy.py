"""Sparse or quantised? Time, memory and error of inference against sparsity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.analysis.baselines import short_dense
from sparsebench.analysis.grouping import group, split
from sparsebench.analysis.order import implementations, sizes
from sparsebench.analysis.panels import curves
from sparsebench.analysis.point import Point
from sparsebench.views.plots import style
from sparsebench.views.plots.axes import quantity_axis, sparsity_axes
from sparsebench.views.plots.memories import curve

_ROWS = {"time": "time", "peak_memory": "peak memory", "error": "error of the output"}
_UNITS = {"time": "s", "peak_memory": "B"}


def deploys(points: Sequence[Point]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure per batch: a column per layer, and a row each for time, memory and error."""
    asked = [p for p in points if p.case.phase == "inference" and p.ok and short_dense(p)]
    for part in split(asked, "batch"):
        if len({p.case.sparsity for p in part.points}) > 1:
            yield f"deploy-{part.name}", _figure(part.points, part.title)


def _figure(points: Sequence[Point], conditions: str) -> Figure:
    points = curves(points)
    columns, names = sizes(points), implementations(points)
    figure = Figure(figsize=(max(4.5, 1.4 + 2.15 * len(columns)), 6.4), layout="constrained")
    grid = figure.subplots(len(_ROWS), len(columns), squeeze=False, sharex=True, sharey="row")
    layers = group(points, "size")
    for column, size in enumerate(columns):
        for row, (metric, title) in enumerate(_ROWS.items()):
            axes = grid[row, column]
            for name in reversed(names):
                look = style.of(name, names)
                axes.plot(*curve(layers[size,], metric, name), **look)
                if metric == "time":
                    style.hollow(axes, _disturbed(layers[size,], name), look)
            if row == 0:
                axes.set_title(style.panel_title(size))
            if column == 0:
                axes.set_ylabel(title)
    for axes, metric in zip(grid[:, 0], _ROWS, strict=True):
        _scale(axes, metric)
    sparsity_axes(grid, [p.case.sparsity for p in points])
    conditions = style.with_hollow(conditions, any(p.disturbed for p in points))
    title = f"Sparse or quantised? Inference at batch {points[0].case.batch}"
    style.head(figure, title, conditions, names)
    return figure


def _disturbed(points: Sequence[Point], name: str) -> list[tuple[float, float]]:
    found = [p for p in points if p.case.implementation == name and p.disturbed]
    return [(1.0 - p.case.sparsity, p.seconds.value) for p in found]


def _scale(axes: Axes, metric: str) -> None:
    if metric in _UNITS:
        quantity_axis(axes, _UNITS[metric])
    else:
        axes.set_yscale("log")

"""Peak memory against sparsity, beside what the mathematics needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sparsebench.analysis.grouping import split
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.order import implementations
from sparsebench.analysis.panels import curves
from sparsebench.analysis.point import Point
from sparsebench.views.plots import grids, style
from sparsebench.views.plots.axes import quantity_axis, sparsity_axes


def memories(points: Sequence[Point]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure per phase; a row of panels per batch, a column per width."""
    for part in split(points, "phase"):
        shown = [p for p in part.points if METRICS["peak_memory"].of(p) is not None]
        if len({p.case.sparsity for p in shown}) > 1:
            yield f"memory-{part.name}", _figure(shown, part.title)


def _figure(points: Sequence[Point], conditions: str) -> Figure:
    points = curves(points)
    names = implementations(points)
    figure, grid = grids.drawn(
        points,
        lambda axes, own: _draw(axes, own, names),
        "peak memory",
        width=2.15,
        sharey="col",
    )
    for axes in grid[0]:
        quantity_axis(axes, "B")
    sparsity_axes(grid, [p.case.sparsity for p in points])
    needed = Line2D([], [], label="needed", **style.NEEDED)
    phase = style.phase_title(points[0].case.phase)
    style.head(figure, f"Peak memory, {phase}", conditions, names, needed)
    return figure


def _draw(axes: Axes, points: Sequence[Point], names: Sequence[str]) -> None:
    for name in reversed(names):
        axes.plot(*curve(points, "peak_memory", name), **style.of(name, names))
    axes.plot(*curve(points, "needed_memory"), **style.NEEDED)


def curve(
    points: Sequence[Point], metric: str, implementation: str | None = None
) -> tuple[list[float], list[float]]:
    """Return densities and values of a metric, of one implementation or of whichever has it."""
    values = {
        1.0 - p.case.sparsity: e.value
        for p in points
        if implementation in (None, p.case.implementation)
        and (e := METRICS[metric].of(p)) is not None
    }
    return sorted(values), [values[density] for density in sorted(values)]

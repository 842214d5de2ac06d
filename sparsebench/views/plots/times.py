"""Time against sparsity: one panel per width and batch, the dense layers among the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.analysis.grouping import split
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.order import implementations
from sparsebench.analysis.panels import curves
from sparsebench.analysis.point import Point
from sparsebench.views.plots import grids, style
from sparsebench.views.plots.axes import quantity_axis, sparsity_axes
from sparsebench.views.plots.bands import band


def times(points: Sequence[Point], *, of: str = "") -> Iterator[tuple[str, Figure]]:
    """Yield a figure per phase, `of` what; a row of panels per batch, a column per width."""
    for part in split(points, "phase"):
        shown = [p for p in part.points if p.ok]
        if len({p.case.sparsity for p in shown}) > 1:
            yield f"time-{part.name}", _figure(shown, part.title, of)


def _figure(points: Sequence[Point], conditions: str, of: str) -> Figure:
    points = curves(points)
    names = implementations(points)
    figure, grid = grids.drawn(
        points,
        lambda axes, own: _draw(axes, own, names),
        "time of a call",
        width=1.95,
        sharey="row",
    )
    for axes in grid[:, 0]:
        quantity_axis(axes, "s")
    sparsity_axes(grid, [p.case.sparsity for p in points])
    phase = style.phase_title(points[0].case.phase)
    conditions = style.with_hollow(conditions, any(p.disturbed for p in points))
    title = ", ".join(filter(None, ("Time against sparsity", of, phase)))
    style.head(figure, title, conditions, names)
    return figure


def _draw(axes: Axes, points: Sequence[Point], names: Sequence[str]) -> None:
    for name in reversed(names):
        own = sorted(
            (p for p in points if p.case.implementation == name), key=lambda p: p.case.sparsity
        )
        found = [(1 - p.case.sparsity, e) for p in own if (e := METRICS["time"].of(p)) is not None]
        if not found:
            continue
        density, look = [d for d, _ in found], style.of(name, names)
        axes.plot(density, [e.value for _, e in found], **look)
        unsure = {1 - p.case.sparsity for p in own if p.disturbed}
        style.hollow(axes, [(d, e.value) for d, e in found if d in unsure], look)
        band(axes, density, [e for _, e in found], look["color"])

"""Speed-up over dense against sparsity: one panel per width and batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.analysis.grouping import split
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.order import implementations
from sparsebench.analysis.panels import curves
from sparsebench.analysis.point import BASELINE, Point
from sparsebench.views.plots import grids, style
from sparsebench.views.plots.axes import ratio_axis, sparsity_axes
from sparsebench.views.plots.bands import band


def speedups(points: Sequence[Point]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure per phase; a row of panels per batch, a column per width."""
    for part in split(points, "phase"):
        shown = [p for p in part.points if METRICS["speedup"].of(p) is not None]
        if len({p.case.sparsity for p in shown}) > 1:
            yield f"speedup-{part.name}", _figure(shown, part.title)


def _figure(points: Sequence[Point], conditions: str) -> Figure:
    points = curves(points)
    names = [n for n in implementations(points) if n != BASELINE]
    figure, grid = grids.drawn(
        points,
        lambda axes, own: draw(axes, own, names),
        "speed-up over dense",
        width=1.95,
        sharey=True,
    )
    values = [e.value for p in points if (e := METRICS["speedup"].of(p)) is not None]
    ratio_axis(grid[0, 0], min(*values, 0.9) / 1.3, max(*values, 1.1) * 1.3)
    sparsity_axes(grid, [p.case.sparsity for p in points])
    phase = style.phase_title(points[0].case.phase)
    conditions = style.with_hollow(conditions, any(p.unsure for p in points))
    style.head(figure, f"Speed-up over dense, {phase}", conditions, names)
    return figure


def draw(axes: Axes, points: Sequence[Point], names: Sequence[str]) -> None:
    """Draw a curve per implementation with its interval, and the dense layer as a line at 1."""
    axes.axhline(1.0, color=style.BLACK, linewidth=0.9, zorder=1.5)
    # Drawn last, ours lies on top.
    for name in reversed(names):
        curve = sorted(
            (
                (p.case.sparsity, e)
                for p in points
                if p.case.implementation == name and (e := METRICS["speedup"].of(p)) is not None
            ),
            key=lambda place: place[0],
        )
        if not curve:
            continue
        density = [1.0 - sparsity for sparsity, _ in curve]
        look = style.of(name, names)
        axes.plot(density, [e.value for _, e in curve], **look)
        unsure = {p.case.sparsity for p in points if p.case.implementation == name and p.unsure}
        style.hollow(axes, [(1.0 - s, e.value) for s, e in curve if s in unsure], look)
        band(axes, density, [e for _, e in curve], look["color"])

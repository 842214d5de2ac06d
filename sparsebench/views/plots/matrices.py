"""Speed-up over dense against sparsity of matrices from files: every matrix a point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.analysis.grouping import group, split
from sparsebench.analysis.matrices import SHARED, bands, from_files, mean_speedup
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.order import implementations
from sparsebench.analysis.point import BASELINE, Point
from sparsebench.views.plots import style
from sparsebench.views.plots.axes import ratio_axis, sparsity_axes

_COLUMNS = 4
_ASIDE = 1.015


def matrices(points: Sequence[Point]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure per phase with a panel per batch; lines are means over bands of sparsity."""
    for part in split(from_files(points), "phase", conditions=SHARED):
        shown = [p for p in part.points if METRICS["speedup"].of(p) is not None]
        shown = [p for p in shown if p.case.implementation != BASELINE]
        if shown:
            yield f"matrices-{part.name}", _figure(shown, part.title)


def _figure(points: Sequence[Point], conditions: str) -> Figure:
    batches = dict(sorted(group(points, "batch").items()))
    names = implementations(points)
    columns = min(_COLUMNS, len(batches))
    lines = -(-len(batches) // columns)
    figure = Figure(figsize=(1.4 + 2.6 * columns, 1.3 + 2.4 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    values = [e.value for p in points if (e := METRICS["speedup"].of(p)) is not None]
    for axes, ((batch,), members) in zip(grid.flat, batches.items(), strict=False):
        axes.set_title(f"batch {batch}")
        _draw(axes, members, names)
    ratio_axis(grid[0, 0], min(*values, 0.9) / 1.3, max(*values, 1.1) * 1.3)
    sparsity_axes(grid, [round(p.case.sparsity, 2) for p in points])
    for axes in grid[:, 0]:
        axes.set_ylabel("speed-up over dense")
    for axes in grid.flat[len(batches) :]:
        axes.set_visible(False)
    phase = style.phase_title(points[0].case.phase)
    title = f"Speed-up over dense of matrices from files, {phase}"
    conditions = style.with_hollow(conditions, any(p.unsure for p in points))
    style.head(figure, title, conditions, names)
    return figure


def _draw(axes: Axes, points: Sequence[Point], names: Sequence[str]) -> None:
    """Draw a point for every matrix, and a line through the geometric means of the bands.

    Points of implementations stand a little beside each other: many matrices have one sparsity.
    """
    axes.axhline(1.0, color=style.BLACK, linewidth=0.9, zorder=1.5)
    for place, name in reversed(list(enumerate(names))):  # drawn last, ours lies on top
        own = [p for p in points if p.case.implementation == name]
        look = style.of(name, names)
        aside = _ASIDE ** (place - (len(names) - 1) / 2)
        dots = {p: e.value for p in own if (e := METRICS["speedup"].of(p)) is not None}
        places = {p: (aside * (1.0 - p.case.sparsity), value) for p, value in dots.items()}
        small = look | {"linestyle": "", "markersize": 3, "alpha": 0.45}
        axes.plot(*zip(*places.values(), strict=True), **small)
        style.hollow(axes, [place for p, place in places.items() if p.unsure], small)
        means = [
            (aside * _density(members), mean.value)
            for members in bands(own).values()
            if (mean := mean_speedup(members)) is not None
        ]
        if means:
            axes.plot(*zip(*means, strict=True), **look | {"markersize": 6, "zorder": 3})


def _density(points: Sequence[Point]) -> float:
    return sum(1.0 - p.case.sparsity for p in points) / len(points)

"""How much faster more threads make it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from sparsebench.analysis.estimates import Estimate, geometric_mean
from sparsebench.analysis.grouping import CONDITIONS, group, split
from sparsebench.analysis.order import implementations
from sparsebench.analysis.point import Point
from sparsebench.views import units
from sparsebench.views.plots import style
from sparsebench.views.plots.axes import ratio_axis
from sparsebench.views.plots.bands import band

_SHARED = tuple(c for c in CONDITIONS if c != "threads")
_PROBLEM = ("batch", "size", "sparsity", "implementation")


def scaling(points: Sequence[Point]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure per phase where layers were timed with several numbers of threads."""
    timed = [p for p in points if p.ok and p.case.device == "cpu"]
    for part in split(timed, "phase", conditions=_SHARED):
        curves = group(part.points, *_PROBLEM)
        scaled = [p for c in curves.values() if len({p.case.threads for p in c}) > 1 for p in c]
        if scaled:
            yield f"threads-{part.name}", _figure(scaled, part.title)


def _figure(points: Sequence[Point], conditions: str) -> Figure:
    """Draw a panel per batch and sparsity; a curve is the geometric mean over the widths."""
    panels = group(points, "batch", "sparsity")
    batches, sparsities = (sorted({key[i] for key in panels}) for i in (0, 1))
    names = implementations(points)
    figure = Figure(
        figsize=(max(4.5, 1.4 + 1.95 * len(sparsities)), 1.4 + 1.9 * len(batches)),
        layout="constrained",
    )
    grid = figure.subplots(len(batches), len(sparsities), squeeze=False, sharex=True, sharey=True)
    for (batch, sparsity), members in panels.items():
        row, column = batches.index(batch), sparsities.index(sparsity)
        axes = grid[row, column]
        _draw(axes, members, names)
        if row == 0:
            axes.set_title(f"{units.percent(sparsity)} sparse")
        if column == 0:
            axes.set_ylabel(f"batch {batch}\nspeed-up")
        if row == len(batches) - 1:
            axes.set_xlabel("threads")
    drawn = np.concatenate([line.get_ydata() for axes in grid.flat for line in axes.lines])
    ratio_axis(grid[0, 0], float(drawn.min()) / 1.2, float(drawn.max()) * 1.2)
    ideal = Line2D([], [], color=style.GREY, linestyle=":", label="ideal")
    phase = style.phase_title(points[0].case.phase)
    conditions = style.with_hollow(conditions, any(p.disturbed for p in points))
    style.head(figure, f"Speed-up over the fewest threads, {phase}", conditions, names, ideal)
    return figure


def _draw(axes: Axes, points: Sequence[Point], names: Sequence[str]) -> None:
    counts = sorted({p.case.threads for p in points})
    ideal = np.array(counts) / counts[0]
    axes.plot(counts, ideal, color=style.GREY, linestyle=":")
    for name in reversed(names):
        whole = _whole([p for p in points if p.case.implementation == name])
        curve = _curve(whole)
        look = style.of(name, names)
        threads = list(curve)
        axes.plot(threads, [e.value for e in curve.values()], **look)
        unsure = _disturbed(whole)
        style.hollow(axes, [(n, e.value) for n, e in curve.items() if n in unsure], look)
        band(axes, threads, curve.values(), look["color"])
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.set_xticklabels([str(c) for c in counts])
    axes.xaxis.set_minor_locator(NullLocator())


def _whole(points: Sequence[Point]) -> list[dict[int, Point]]:
    """Return the widths that were measured with every number of threads, by threads."""
    layers: dict[Any, dict[int, Point]] = {
        key: {p.case.threads: p for p in members} for key, members in group(points, "size").items()
    }
    counts = sorted({p.case.threads for p in points})
    return [{n: layer[n] for n in counts} for layer in layers.values() if len(layer) == len(counts)]


def _curve(whole: Sequence[dict[int, Point]]) -> dict[int, Estimate]:
    """Return the speed-up over the fewest threads by threads, over all widths."""
    counts = [*whole[0]] if whole else []
    return {
        count: Estimate.of(geometric_mean([w[counts[0]].time / w[count].time for w in whole]))
        for count in counts
    }


def _disturbed(whole: Sequence[dict[int, Point]]) -> set[int]:
    """Return the numbers of threads of whose speed-ups a time was disturbed."""
    return {
        n
        for layer in whole
        for n, point in layer.items()
        if point.disturbed or next(iter(layer.values())).disturbed
    }

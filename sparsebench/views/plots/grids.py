"""Figures of panels over sparsity: a row for each batch, a column for each size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.analysis.grouping import group
from sparsebench.analysis.order import sizes
from sparsebench.analysis.point import Point
from sparsebench.views.plots import style
from sparsebench.views.plots.axes import Panels

_HEIGHT = 1.75  # inches of a panel


def drawn(
    points: Sequence[Point],
    draw: Callable[[Axes, Sequence[Point]], None],
    label: str,
    *,
    width: float,
    sharey: bool | Literal["row", "col"],
) -> tuple[Figure, Panels]:
    """Return a figure and its panels, `width` inches each, in each of which its points are drawn.

    `label` says what y is.
    """
    columns = sizes(points)
    batches = sorted({p.case.batch for p in points})
    figure = Figure(
        figsize=(max(4.5, 1.4 + width * len(columns)), 1.5 + _HEIGHT * len(batches)),
        layout="constrained",
    )
    grid = figure.subplots(len(batches), len(columns), squeeze=False, sharex=True, sharey=sharey)
    cells = group(points, "batch", "size")
    for row, batch in enumerate(batches):
        for column, size in enumerate(columns):
            draw(grid[row, column], cells.get((batch, size), []))
        grid[row, 0].set_ylabel(f"batch {batch}\n{label}")
    for axes, size in zip(grid[0], columns, strict=True):
        axes.set_title(style.panel_title(size))
    return figure, grid

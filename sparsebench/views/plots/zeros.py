"""Time of a layer against the share of zeros in its input: who gains from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.analysis.grouping import CONDITIONS, group, split
from sparsebench.analysis.order import implementations
from sparsebench.analysis.point import Point
from sparsebench.views import units
from sparsebench.views.plots import style
from sparsebench.views.plots.axes import quantity_axis
from sparsebench.views.plots.bands import band

_SHARED = tuple(name for name in CONDITIONS if name != "input_sparsity")


def zeros(points: Sequence[Point]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure per phase and sparsity; a row of panels per batch, a column per layer."""
    timed = [p for p in points if p.ok and p.case.operation == "linear"]
    kinds = {(p.case.phase, p.case.sparsity, p.case.topology) for p in timed if _has(p)}
    timed = [p for p in timed if (p.case.phase, p.case.sparsity, p.case.topology) in kinds]
    for part in split(timed, "phase", "sparsity", conditions=_SHARED):
        if any(map(_has, part.points)):
            yield f"zeros-{part.name}", _figure(part.points, part.title)


def _has(point: Point) -> bool:
    return point.case.input_sparsity > 0


def _figure(points: Sequence[Point], conditions: str) -> Figure:
    def size(point: Point) -> str:
        return replace(point.case, input_sparsity=0.0).size

    columns = list(dict.fromkeys(size(p) for p in points if p.case.input_sparsity))
    batches = sorted({p.case.batch for p in points if p.case.input_sparsity})
    names = implementations(points)
    figure = Figure(
        figsize=(max(4.5, 1.4 + 2.2 * len(columns)), 1.5 + 1.9 * len(batches)), layout="constrained"
    )
    grid = figure.subplots(len(batches), len(columns), squeeze=False, sharex=True, sharey="row")
    for row, batch in enumerate(batches):
        for column, name in enumerate(columns):
            axes = grid[row, column]
            of = [p for p in points if (p.case.batch, size(p)) == (batch, name)]
            for (implementation,), members in group(of, "implementation").items():
                _draw(axes, members, style.of(implementation, names))
            axes.set_title(style.panel_title(name) if row == 0 else "")
            if row == len(batches) - 1:
                axes.set_xlabel("zeros in the input")
        grid[row, 0].set_ylabel(f"batch {batch}\ntime of a call")
        quantity_axis(grid[row, 0], "s")
    case = points[0].case
    title = f"{style.phase_title(case.phase)} of {units.percent(case.sparsity)} sparse layers"
    conditions = style.with_hollow(conditions, any(p.disturbed for p in points))
    style.head(figure, f"Zeros in the input, {title}", conditions, names)
    return figure


def _draw(axes: Axes, points: Sequence[Point], look: dict[str, object]) -> None:
    ordered = sorted(points, key=lambda p: p.case.input_sparsity)
    shares = [p.case.input_sparsity for p in ordered]
    axes.plot(shares, [p.seconds.value for p in ordered], **look)  # type: ignore[arg-type]
    band(axes, shares, [p.seconds for p in ordered], str(look["color"]))
    axes.xaxis.set_major_formatter(lambda value, _: units.percent(value))
    places = [(p.case.input_sparsity, p.seconds.value) for p in ordered if p.disturbed]
    style.hollow(axes, places, look)

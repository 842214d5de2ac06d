"""What each structure of connections gains over the dense layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.analysis.grouping import CONDITIONS, split
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.order import main_phases
from sparsebench.analysis.point import LEAD, Point
from sparsebench.analysis.structures import by_structure, names
from sparsebench.views import units
from sparsebench.views.plots import style
from sparsebench.views.plots.axes import ratio_axis

_SHARED = tuple(name for name in CONDITIONS if name != "topology")
_FEWEST = 3  # structures that a figure has to compare


def structures(points: Sequence[Point]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure per layer and sparsity; a row of panels per phase, a column per batch."""
    for part in split(points, "size", "sparsity", conditions=_SHARED):
        problems = by_structure(part.points)
        if len(names(problems)) >= _FEWEST:
            yield f"structures-{part.name}", _figure(problems, part.title)


def _figure(problems: Sequence[dict[str, Point]], conditions: str) -> Figure:
    every = [point for problem in problems for point in problem.values()]
    lines, phases = names(problems), main_phases(every)
    batches = sorted({p.case.batch for p in every})
    figure = Figure(
        figsize=(1.6 + 2.6 * len(batches), 1.0 + len(phases) * (0.5 + 0.27 * len(lines))),
        layout="constrained",
    )
    grid = figure.subplots(len(phases), len(batches), squeeze=False, sharex=True, sharey=True)
    for row, phase in enumerate(phases):
        for column, batch in enumerate(batches):
            axes = grid[row, column]
            axes.set_title(f"{style.phase_title(phase)}, batch {batch}", loc="left")
            axes.axvline(1.0, color="#888888", linewidth=0.8)
            for problem in problems:
                one = next(iter(problem.values())).case
                if (one.phase, one.batch) == (phase, batch):
                    _draw(axes, problem, lines)
            axes.grid(axis="y", visible=False)
    grid[0, 0].set_yticks(range(len(lines)), lines)  # which all share, as the limits
    grid[0, 0].set_ylim(len(lines) - 0.5, -0.5)
    estimates = [e for p in every if (e := METRICS["speedup"].of(p)) is not None]
    ends = [end for e in estimates for end in ((e.low, e.high) if e.known else (e.value,))]
    ratio_axis(grid[0, 0], 0.9 * min(1.0, *ends), 1.1 * max(ends), which="x")
    for axes in grid[-1]:
        axes.set_xlabel("speed-up over dense")
    case = every[0].case
    layer = f"{style.panel_title(case.size)}, {units.percent(case.sparsity)} sparse"
    conditions = style.with_hollow(conditions, any(p.unsure for p in every))
    style.plain_head(figure, f"Which structure, {layer}", conditions)
    return figure


def _draw(axes: Axes, problem: dict[str, Point], lines: Sequence[str]) -> None:
    look = style.of(LEAD) | {"linestyle": ""}
    for name, point in problem.items():
        estimate, line = METRICS["speedup"].of(point), lines.index(name)
        if estimate is None:
            continue
        if estimate.known:
            ends = ([estimate.value - estimate.low], [estimate.high - estimate.value])
            axes.errorbar(
                estimate.value, line, xerr=ends, color=look["color"], linewidth=1.2, capsize=2
            )
        axes.plot(estimate.value, line, **look)
        if point.unsure:
            style.hollow(axes, [(estimate.value, line)], look)

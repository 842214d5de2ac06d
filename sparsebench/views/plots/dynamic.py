"""A training step with its share of a rewiring, against how often connections change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.analysis.dynamics import EVERY, PHASES, Training, trainings
from sparsebench.analysis.estimates import Estimate
from sparsebench.analysis.grouping import split
from sparsebench.analysis.order import implementations, sizes
from sparsebench.analysis.point import Point
from sparsebench.views import units
from sparsebench.views.plots import style
from sparsebench.views.plots.axes import number_axis, quantity_axis
from sparsebench.views.plots.bands import band

_STEPS = (1, *EVERY)


def dynamic(points: Sequence[Point]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure per sparsity; a row of panels per batch, a column per width."""
    steps = [p for p in points if p.ok and p.case.phase in PHASES]
    rewired = {p.case.topology for p in steps if p.case.phase == "rewiring"}
    steps = [p for p in steps if p.case.topology in rewired and p.case.operation == "linear"]
    for part in split(steps, "sparsity"):
        found = [training for training, _ in trainings(part.points)]
        if found:
            title = f"{units.percent(found[0].step.case.sparsity)} sparse: a training step by "
            title += "the steps between two rewirings"
            yield f"dynamic-{part.name}", _figure(found, title, part.title)


def _figure(found: Sequence[Training], title: str, conditions: str) -> Figure:
    steps = [training.step for training in found]
    columns, names = sizes(steps), implementations(steps)
    batches = sorted({point.case.batch for point in steps})
    figure = Figure(
        figsize=(max(4.5, 1.4 + 2.2 * len(columns)), 1.5 + 1.9 * len(batches)), layout="constrained"
    )
    grid = figure.subplots(len(batches), len(columns), squeeze=False, sharex=True, sharey="row")
    for row, batch in enumerate(batches):
        for column, size in enumerate(columns):
            axes = grid[row, column]
            of = [t for t in found if (t.step.case.batch, t.step.size) == (batch, size)]
            for training in of:
                _draw(axes, training, names)
            axes.set_title(style.panel_title(size) if row == 0 else "")
            if row == len(batches) - 1:
                axes.set_xlabel("steps between two rewirings")
        grid[row, 0].set_ylabel(f"batch {batch}\ntime of a step")
        quantity_axis(grid[row, 0], "s")
    number_axis(grid[0, 0])
    marked = not all(training.decides for training in found)
    style.head(figure, title, style.with_hollow(conditions, marked), names)
    return figure


def _draw(axes: Axes, training: Training, names: Sequence[str]) -> None:
    look = style.of(training.step.case.implementation, names)
    estimates = [Estimate.of(training.amortised(every)) for every in _STEPS]
    axes.plot(_STEPS, [e.value for e in estimates], **look)
    band(axes, _STEPS, estimates, look["color"])
    if not training.decides:
        style.hollow(axes, [(n, e.value) for n, e in zip(_STEPS, estimates, strict=True)], look)

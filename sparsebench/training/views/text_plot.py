"""Perplexity against seconds of training, with the best that a dense network ended with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from sparsebench.training.groups import Group
from sparsebench.training.records import TrainingRecord
from sparsebench.training.views.text_table import (
    best_dense,
    perplexities,
    sorted_out,
    trained_for,
)
from sparsebench.views.plots.style import BLACK, looks, plain_head

_LOWEST = 1.6  # y ends where curves begin to differ: at so many times the best that they end with


def of(records: Sequence[TrainingRecord]) -> Iterator[tuple[str, Figure]]:
    """Yield a name and a figure for the networks of each table that were trained to the end."""
    for name, own in sorted_out(records):
        if finished := [group for group in own if perplexities(group)]:
            yield name, _figure(finished)


def _figure(own: list[Group]) -> Figure:
    timed = all(e.seconds is not None for g in own for run in g.finished for e in run.epochs)
    figure = Figure(figsize=(6.6, 4.0), layout="constrained")
    axes = figure.subplots()
    others = looks()
    for group in own:
        dense = group.setting.model == "dense"
        style, colour = ("-", BLACK) if dense else next(others)
        axes.plot(*_curve(group, timed=timed), style, color=colour, label=group.setting.row)
    if (best := best_dense(own)) is not None:
        axes.axhline(best, color=BLACK, linewidth=0.6)
    lowest = min(value for group in own for value in perplexities(group))
    highest = max(value for group in own for value in perplexities(group))
    axes.set_yscale("log")
    axes.set_ylim(lowest / 1.02, max(_LOWEST * lowest, 1.05 * highest))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds of training, without the tests" if timed else "epochs")
    axes.set_ylabel("perplexity of a character")
    axes.legend(loc="upper right")
    runs = max(len(group.finished) for group in own)
    plain_head(
        figure,
        "Perplexity against time: what dense ends with is the line",
        f"{own[0].setting.dataset}, {trained_for(own)}, {runs} seed{'s' * (runs > 1)}, "
        f"{' or '.join(map(str, own[0].threads)) or 'unknown'} threads",
    )
    return figure


def _curve(group: Group, *, timed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds, or the number, of every epoch's end, and the perplexity: mean of runs."""
    metric = group.setting.METRIC
    values = np.array([[metric.of(e) for e in run.epochs] for run in group.finished], dtype=float)
    if not timed:
        return np.arange(1, values.shape[1] + 1), values.mean(0)
    seconds = np.array([[e.seconds or 0.0 for e in run.epochs] for run in group.finished])
    return seconds.cumsum(1).mean(0), values.mean(0)

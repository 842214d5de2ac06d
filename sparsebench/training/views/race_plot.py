"""Accuracy against seconds, method by method, with what the dense net ends with beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.training import experiment
from sparsebench.training.groups import Group, across_machines, alike, best_dense
from sparsebench.views import units
from sparsebench.views.plots.style import BLACK, looks, plain_head

EXPERIMENTS = (
    "ultra-sparse-mnist",
    "ultra-sparse-fashion",
    "ultra-sparse-tuned-mnist",
    "ultra-sparse-tuned-fashion",
)


def of(every: Sequence[Group]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure of each experiment of this kind, and of those that the suite does not ship.

    One for all runs that were trained alike, named after what is not as the experiment's file says.
    """
    shipped = experiment.names()
    for name in dict.fromkeys(group.setting.experiment for group in every):
        if name in shipped and name not in EXPERIMENTS:
            continue
        same = [group for group in every if group.setting.experiment == name]
        if name in EXPERIMENTS:
            same = across_machines(same)
        kinds = alike([group for group in same if group.finished])
        for own in kinds:
            models = {group.setting.model == "dense" for group in own}
            if name in shipped or models == {True, False}:
                yield name + _suffix(name, own[0], alone=len(kinds) == 1), draw(own)


# Of a curve: its name, its line and its colour.
Look = tuple[str, tuple[str, str]]


def draw(own: Sequence[Group], styles: dict[str, Look] | None = None) -> Figure:
    """Return a figure of groups that were trained alike, one panel for each sparsity.

    x is the seconds of training alone, or epochs where the dense net was not timed, or nothing.
    The best dense net is in each panel: its curve, and lines at its last and its best accuracy.
    A dot is where the mean of a method becomes as accurate as the dense net's last one. `styles`
    says how rows look that are the same thing in every panel; others have a legend in each.
    """
    dense = best_dense(own)
    timed = [group for group in own if group.seconds is not None]
    by_time = bool(timed) and (dense is None or dense in timed)
    shown = [g for g in (timed if by_time else own) if g.setting.model != "dense" or g is dense]
    drawn_as = styles or _looks([g for g in shown if g is not dense])
    levels = sorted({g.setting.sparsity for g in shown if g is not dense} or {0.0})
    figure = Figure(figsize=(3.4 * len(levels) + 0.6, 4.2), layout="constrained")
    panels = figure.subplots(1, len(levels), sharey=True, squeeze=False)[0]
    for axes, level in zip(panels, levels, strict=True):
        if dense is not None:
            _dense(axes, dense, by_time=by_time)
        members = [g for g in shown if g is not dense and g.setting.sparsity == level]
        for group in members:
            label, (style, colour) = drawn_as[group.setting.row]
            x, y = _curve(group, by_time=by_time)
            axes.plot(x, y, style, color=colour, label=label, linewidth=1.2)
            if dense is not None and (there := np.flatnonzero(y >= dense.curve[-1])).size:
                axes.plot(x[there[0]], y[there[0]], "o", color=colour, markersize=4)
        axes.set_title(f"{units.percent(level)} sparse")
        axes.set_xlim(left=0)
        axes.set_xlabel("seconds of training" if by_time else "epochs")
        if styles is None:
            axes.legend(loc="lower right", fontsize="x-small")
    if styles is not None:
        named = [axes.get_legend_handles_labels() for axes in panels]
        once = {label: handle for drawn in named for handle, label in zip(*drawn, strict=True)}
        figure.legend(once.values(), once.keys(), loc="outside right upper")
    panels[0].set_ylim(*_range([group.curve for group in shown]))
    panels[0].set_ylabel("accuracy in percent")
    title = f"Accuracy against {'seconds' if by_time else 'epochs'}, and what dense ends with"
    plain_head(figure, title, _conditions(own, len(own) - len(timed) if by_time else 0))
    return figure


def _looks(members: Sequence[Group]) -> dict[str, Look]:
    """Return how rows look: a method the same in every panel."""
    methods = {
        g.setting.row: g.setting.row.removesuffix(f" {units.percent(g.setting.sparsity)}")
        for g in members
    }
    of_method = dict(zip(dict.fromkeys(methods.values()), looks(), strict=False))
    return {row: (method, of_method[method]) for row, method in methods.items()}


def _dense(axes: Axes, dense: Group, *, by_time: bool) -> None:
    x, y = _curve(dense, by_time=by_time)
    axes.plot(x, y, color=BLACK, linewidth=1.2, label=f"dense, ends with {y[-1]:.2f}")
    axes.axhline(y[-1], color=BLACK, linewidth=0.6)
    if y.max() > y[-1]:
        label = f"dense's best, {y.max():.2f}"
        axes.axhline(y.max(), color=BLACK, linewidth=0.6, linestyle=":", label=label)


def _curve(group: Group, *, by_time: bool) -> tuple[np.ndarray, np.ndarray]:
    y = np.array(group.curve)
    clock = group.clock if by_time else None
    return np.arange(1, len(y) + 1) if clock is None else np.array(clock), y


def _range(curves: Sequence[Sequence[float]]) -> tuple[float, float]:
    """From where to where accuracies differ that methods end with, but for the worst of them."""
    low = float(np.percentile([curve[-1] for curve in curves], 20))
    high = max(map(max, curves))
    room = max(0.2, 0.5 * (high - low))
    return low - 2 * room, high + 0.3 * room


def _suffix(name: str, group: Group, *, alone: bool) -> str:
    setting = group.setting
    asked = experiment.shipped(name) if name in experiment.names() else None
    if asked is None and alone:
        return ""
    usual = asked is not None and setting.dataset == asked.dataset.lower()
    said = "" if usual else f"-{setting.dataset}"
    if asked is None or setting.epochs != asked.rows[0].epochs:
        said += f"-{setting.epochs}-epochs"
    return said + (f"-validation-{setting.held_out}" if setting.held_out else "")


def _conditions(own: Sequence[Group], left_out: int) -> str:
    setting, runs = own[0].setting, max(len(group.finished) for group in own)
    where = "the last training images of " if setting.held_out else ""
    said = f"{where}{setting.dataset}, {setting.epochs} epochs, the mean of up to {runs} seeds"
    rows = "1 row was" if left_out == 1 else f"{left_out} rows were"
    return said + (f"; {rows} not timed" if left_out else "")

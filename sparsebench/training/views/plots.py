"""Plots of training records. They never measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sparsebench.training import experiment
from sparsebench.training.groups import (
    Group,
    across_machines,
    dataset_of,
    groups,
    mean_and_deviation,
)
from sparsebench.training.published import curve
from sparsebench.training.records import TrainingRecord
from sparsebench.training.settings import MLPSetting
from sparsebench.training.views import (
    cifar_plot,
    race_plot,
    recovery_plot,
    structured,
    structures_plot,
    text_plot,
    topology_plot,
    weights_plot,
)
from sparsebench.training.views.front import front
from sparsebench.training.views.tables import comparable
from sparsebench.views.plots.style import (
    BLACK,
    BLUE,
    GREY,
    VERMILION,
    plain_head,
)

COLOURS = {"dense": BLACK, "masked": GREY, "sparse": VERMILION}


def of_training(records: Sequence[TrainingRecord]) -> Iterator[tuple[str, Figure]]:
    """Yield a file name and a figure for everything that can be drawn."""
    yield from cifar_plot.of(records)
    yield from recovery_plot.of(records)
    yield from text_plot.of(records)
    whole = groups(records)
    finished = [group for group in whole if group.finished]
    every = [group for group in finished if isinstance(group.setting, MLPSetting)]
    known = [group for group in every if comparable(group.setting)]
    if own := [group for group in known if group.setting.experiment == "mnist"]:
        yield "mnist", _published(own, columns=4)
    if own := [group for group in known if group.setting.experiment == "wide"]:
        yield "wide", _published(own, columns=1)
    yield from race_plot.of([group for group in whole if isinstance(group.setting, MLPSetting)])
    yield from topology_plot.of(every)
    for name in structured.EXPERIMENTS:
        usual = experiment.shipped(name).rows[0]
        own = across_machines(_of(finished, name))
        data = dataset_of(usual)
        yield from _by_dataset(name, structures_plot.draw, own, data)
        yield from _by_dataset(f"{name}-race", structures_plot.race, own, data)
    rows = {setting.row for setting in experiment.shipped("same-time").rows}
    for name, draw, own in (
        ("same-weights", _same_weights, across_machines(_of(every, "same-weights"))),
        ("same-time", _same_time, [g for g in _of(every, "mnist") if g.setting.row in rows]),
        ("recipe", _recipe, _of(every, "recipe")),
        ("pareto", _pareto, _of(every, "mnist")),
    ):
        yield from _by_dataset(name, draw, own, "mnist")


def _by_dataset(
    name: str, draw: Callable[[list[Group]], Figure | None], own: list[Group], usual: str
) -> Iterator[tuple[str, Figure]]:
    """Yield a figure for each dataset, named after all but the `usual` one."""
    for dataset in sorted({dataset_of(group.setting) for group in own}):
        members = [group for group in own if dataset_of(group.setting) == dataset]
        if figure := draw(members):
            yield name + ("" if dataset == usual else f"-{dataset}"), figure


def _published(own: list[Group], *, columns: int) -> Figure:
    """Accuracy by epoch, measured and published, one panel a row of the table."""
    lines = -(-len(own) // columns)
    figure = Figure(figsize=(2.4 * columns + 0.4, 2.1 * lines + 0.7), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes, group in zip(panels, own, strict=False):
        epochs = np.arange(1, group.setting.epochs + 1)
        theirs = curve(group.setting.experiment, group.setting.row)[: len(epochs)]
        _band(axes, group, VERMILION, "this suite: mean, lowest to highest seed")
        axes.plot(epochs, theirs, color=BLACK, marker="s", linestyle="--", label="published")
        axes.set_title(group.setting.row)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for place in range(len(own), len(panels)):
        panels[place].set_axis_off()
        panels[place - columns].tick_params(labelbottom=True)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, handlelength=2.6)
    low = min(min(run.epochs[1].accuracy for run in group.finished) for group in own)
    axes.set_ylim(100 * low - 0.6, 98.9)
    figure.supylabel("test accuracy in percent", fontsize=9)
    seeds = max(len(group.finished) for group in own)
    plain_head(
        figure,
        "Test accuracy by epoch, measured and published",
        f"x: epochs; up to {seeds} seeds; all of MNIST; the published curves are of one run",
    )
    return figure


def _same_weights(own: list[Group]) -> Figure | None:
    return weights_plot.draw(own, _conditions(own))


def _same_time(own: list[Group]) -> Figure | None:
    """Accuracy against the seconds of training."""
    timed = [group for group in own if group.seconds_per_epoch is not None]
    if {group.setting.model for group in timed} != {"dense", "masked", "sparse"}:
        return None
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.subplots()
    for group in timed:
        seconds = np.array(group.clock)
        _band(
            axes, group, COLOURS[group.setting.model],
            f"{group.setting.row}: {group.seconds_per_epoch:.1f} s an epoch", x=seconds,
        )  # fmt: skip
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds of training, without the test after each epoch")
    axes.set_ylabel("test accuracy in percent")
    axes.legend(loc="lower right")
    threads = " or ".join(str(n) for n in sorted({n for group in timed for n in group.threads}))
    plain_head(figure, "The same time: test accuracy against seconds of training",
               f"{_conditions(own)}; times on {threads} CPU threads")  # fmt: skip
    return figure


def _pareto(own: list[Group]) -> Figure | None:
    """Accuracy against the time of an epoch and against the weights; the front is a line."""
    costs: dict[str, Callable[[Group], float]] = {
        "seconds of training per epoch": lambda g: g.seconds_per_epoch or 0.0,
        "weights": lambda g: float(g.runs[0].weights),
    }
    shown = [group for group in own if group.seconds_per_epoch is not None]
    if len(shown) < 3:
        return None
    figure = Figure(figsize=(7.6, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (label, cost) in zip(panels, costs.items(), strict=True):
        places = [(cost(g), mean_and_deviation(g.accuracies())[0], g) for g in shown]
        best = front(place[:2] for place in places)
        axes.step(*zip(*best, strict=True), where="post", color=GREY, linestyle=":", zorder=0)
        for number, (price, accuracy, member) in enumerate(places):
            look = {"marker": "osD^vPXhp"[number % 9], "color": COLOURS[member.setting.model]}
            axes.plot(price, accuracy, linestyle="", **look, label=member.setting.row)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axes.set_xlabel(label)
    panels[0].set_ylabel("test accuracy in percent")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
    plain_head(figure, "What accuracy costs: up and to the left is better", _conditions(own))
    return figure


def _recipe(own: list[Group]) -> Figure | None:
    """The accuracy of every seed, sparse nets beside dense ones."""
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    axes = figure.subplots()
    dense = [group for group in own if group.setting.model == "dense"]
    if not dense:
        return None
    mean = mean_and_deviation(dense[0].accuracies())[0]
    for place, group in enumerate(own):
        values = group.accuracies()
        colour = COLOURS["dense" if group.setting.model == "dense" else "sparse"]
        spread = np.linspace(-0.12, 0.12, len(values))
        axes.plot(place + spread, values, "o", color=colour, alpha=0.5, markeredgewidth=0)
        axes.hlines(np.mean(values), place - 0.25, place + 0.25, color=colour, linewidth=2.2)
    axes.axhline(mean, color=BLUE, linestyle=":", zorder=0, label="dense, mean")
    axes.plot([], [], color=GREY, linewidth=2.2, label="mean")
    axes.plot([], [], "o", color=GREY, alpha=0.5, label="one seed")
    axes.legend(loc="lower left")
    axes.set_xticks(range(len(own)), [group.setting.row for group in own])
    axes.set_ylabel("test accuracy in percent")
    plain_head(figure, "The best recipes found, dense and sparse", _conditions(own))
    return figure


def _band(
    axes: Axes, group: Group, colour: str, label: str, *, x: np.ndarray | None = None
) -> None:
    """Draw the mean accuracy by epoch, and the range over the seeds as a band."""
    curves = 100 * np.array([[e.accuracy for e in run.epochs] for run in group.finished])
    places = np.arange(1, curves.shape[1] + 1) if x is None else x
    axes.fill_between(places, curves.min(0), curves.max(0), color=colour, alpha=0.2, linewidth=0)
    axes.plot(places, curves.mean(0), color=colour, marker="o", label=label)


def _of(every: Sequence[Group], experiment: str) -> list[Group]:
    return [group for group in every if group.setting.experiment == experiment]


def _conditions(own: Sequence[Group]) -> str:
    epochs = sorted({group.setting.epochs for group in own})
    seeds = sorted({len(group.finished) for group in own})
    few = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    plural = "seed" if seeds == [1] else "seeds"
    return f"{own[0].setting.dataset}, {epochs[-1]} epochs, {few} {plural}"

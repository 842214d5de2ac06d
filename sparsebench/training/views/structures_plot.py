"""What structure costs: accuracy against measured seconds and against memory, with the front."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sparsebench.training.groups import Group, mean_and_deviation
from sparsebench.training.settings import MLPSetting
from sparsebench.training.views import race_plot
from sparsebench.training.views.front import front
from sparsebench.training.views.structured import METHODS, structure_of, structured, trained
from sparsebench.views import units
from sparsebench.views.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    plain_head,
)

BROWN = "#7F4F24"  # a ninth, where seven and grey are not enough

_LOOKS = (
    (BLACK, "*"), (VERMILION, "o"), (BLUE, "s"), (GREEN, "D"), (ORANGE, "^"),
    (PURPLE, "v"), (SKY, "P"), (GREY, "X"), (BROWN, "p"),
)  # fmt: skip


def draw(own: Sequence[Group]) -> Figure | None:
    """Return a figure of the groups of one experiment and dataset; None without costs.

    A structure is a colour, with a line from sparsity to sparsity: hollow where connections stay
    and filled where they are rewired. The front of all, the dense net among them, is a step, and
    beside each of its places stands the sparsity.
    """
    costs = _costs(own)
    shown = [group for group in own if group.finished]
    if len(shown) < 2 or not costs:
        return None
    structures = list(dict.fromkeys(structure_of(group) for group in shown))
    figure = Figure(figsize=(4.6 * len(costs) + 1.4, 4.4), layout="constrained")
    panels = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    for axes, (label, cost) in zip(panels, costs.items(), strict=True):
        places = [(cost(group), _accuracy(group)) for group in shown]
        best = front(places)
        axes.step(*zip(*best, strict=True), where="post", color=GREY, linestyle=":", zorder=0)
        for name, rewiring in dict.fromkeys((structure_of(g), _rewiring(g)) for g in shown):
            line = [p for g, p in zip(shown, places, strict=True) if _is(g, name, rewiring)]
            colour, marker = _LOOKS[structures.index(name) % len(_LOOKS)]
            fill = "none" if rewiring == "none" and name != "dense" else colour
            axes.plot(
                *zip(*sorted(line), strict=True), marker=marker, markersize=4, color=colour,
                markerfacecolor=fill, linewidth=0.6, alpha=0.9,
            )  # fmt: skip
        for group, place in zip(shown, places, strict=True):
            if place in best and structure_of(group) != "dense":
                text = units.percent(group.setting.sparsity)
                axes.annotate(
                    text, place, xytext=(-3, 4), textcoords="offset points", fontsize=6, ha="right"
                )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
        axes.set_xlabel(label)
    panels[0].set_ylabel("test accuracy in percent")
    for name, (colour, marker) in zip(structures, _LOOKS, strict=False):
        panels[0].plot([], [], marker, linestyle="", color=colour, label=name)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
    runs = max(len(group.finished) for group in shown)
    plain_head(
        figure,
        "What structure costs in accuracy, and brings: up and to the left is better",
        f"{trained(shown)}; {'one seed' if runs == 1 else f'the mean of up to {runs} seeds'}; "
        "hollow: connections stay, filled: rewired by RigL",
    )
    return figure


def race(own: Sequence[Group]) -> Figure | None:
    """Return accuracy against seconds; None where the dense net was not timed, or nothing else.

    A structure is a colour: dashed where connections stay. Networks that were pruned do not race:
    they were dense before.
    """
    timed = [
        group
        for group in own
        if group.finished and group.seconds is not None and isinstance(group.setting, MLPSetting)
    ]
    if {group.setting.model == "dense" for group in timed} != {True, False}:
        return None
    structures = list(dict.fromkeys(structure_of(group) for group in own))
    styles = {}
    for group in timed:
        name, rewiring = structure_of(group), _rewiring(group)
        colour = _LOOKS[structures.index(name) % len(_LOOKS)][0]
        line = "--" if rewiring == "none" else "-"
        styles[group.setting.row] = f"{name}, {METHODS[rewiring]}", (line, colour)
    return race_plot.draw(timed, styles)


def _costs(own: Sequence[Group]) -> dict[str, Callable[[Group], float]]:
    """Return what costs were measured of all groups, by what axes call them."""
    costs: dict[str, Callable[[Group], float]] = {}
    finished = [group for group in own if group.finished]
    if all(group.seconds_per_epoch is not None for group in finished):
        costs["seconds of training per epoch"] = lambda g: g.seconds_per_epoch or 0.0
    if all(group.peak_memory is not None for group in finished):
        costs["peak memory in MB"] = lambda g: (g.peak_memory or 0) / 1e6
    else:
        costs["weights"] = lambda g: float(g.runs[0].weights)
    return costs


def _accuracy(group: Group) -> float:
    return mean_and_deviation(group.accuracies())[0]


def _rewiring(group: Group) -> str:
    return structured(group.setting).rewiring


def _is(group: Group, structure: str, rewiring: str) -> bool:
    return structure_of(group) == structure and _rewiring(group) == rewiring

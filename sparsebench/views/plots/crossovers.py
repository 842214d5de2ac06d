"""From which sparsity on sparse pays: a point per layer and implementation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.analysis.crossover import ALWAYS, NEVER, Crossover, crossover
from sparsebench.analysis.grouping import group, split
from sparsebench.analysis.order import PHASES, implementations
from sparsebench.analysis.panels import curves
from sparsebench.analysis.point import BASELINE, Point
from sparsebench.views import units
from sparsebench.views.plots import style
from sparsebench.views.plots.axes import sparsity_axis

_LINES = 60  # of layers, above which some are drawn


def crossovers(points: Sequence[Point]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure with a panel per phase and a line per batch and width."""
    for part in split(points):
        shown = [p for p in part.points if p.case.implementation != BASELINE]
        if len(group(shown, "batch", "size")) > _LINES:
            shown = list(curves(shown))
        found = {
            key: crossing
            for key, members in group(shown, "phase", "batch", "size", "implementation").items()
            if (crossing := crossover(members)) is not None and crossing.lowest < crossing.highest
        }
        if found:
            yield (
                "-".join(filter(None, ("crossover", part.name))),
                _figure(found, shown, part.title),
            )


Found = dict[tuple[str, int, str, str], Crossover]


def _figure(found: Found, points: Sequence[Point], conditions: str) -> Figure:
    phases = [phase for phase in PHASES if any(key[0] == phase for key in found)]
    layers = list(dict.fromkeys((batch, size) for batch, size in group(points, "batch", "size")))
    names = [n for n in implementations(points) if any(key[3] == n for key in found)]
    height = 1.6 + max(0.3, 0.1 + 0.07 * len(names)) * len(layers)
    figure = Figure(figsize=(1.4 + 2.6 * len(phases), height), layout="constrained")
    panels = figure.subplots(1, len(phases), squeeze=False, sharey=True)[0]
    sparsities = sorted({p.case.sparsity for p in points})
    for axes, phase in zip(panels, phases, strict=True):
        axes.set_title(style.phase_title(phase))
        for line, (batch, size) in enumerate(layers):
            for place, name in enumerate(names):
                crossing = found.get((phase, batch, size, name))
                if crossing is not None:
                    offset = 0.8 * ((place + 0.5) / len(names) - 0.5)
                    _draw(axes, crossing, line + offset, sparsities, style.of(name, names))
        _axis(axes, sparsities)
    word = "" if points[0].case.operation == "conv2d" else "width "
    panels[0].set_yticks(range(len(layers)), [f"batch {b}, {word}{s}" for b, s in layers])
    panels[0].set_ylim(len(layers) - 0.5, -0.5)
    for axes, line in itertools.product(panels, range(0, len(layers), 2)):
        axes.axhspan(line - 0.5, line + 0.5, color="#F4F4F4", zorder=0.4, linewidth=0)
    title = "Sparsity from which on sparse is faster than dense"
    if not all(_sure(crossing) for crossing in found.values()):
        conditions = f"hollow: no interval, or one over all that was measured; {conditions}"
    style.head(figure, title, conditions, names, lines=False)
    return figure


def _sure(crossing: Crossover) -> bool:
    """Whether it has an interval, which does not span all that was measured."""
    return crossing.told and crossing.sparsity.known


def _draw(
    axes: Axes,
    crossing: Crossover,
    y: float,
    sparsities: Sequence[float],
    look: dict[str, Any],
) -> None:
    ends = crossing.sparsity
    value, low, high = (_place(s, crossing, sparsities) for s in (ends.value, ends.low, ends.high))
    axes.plot([low, high], [y, y], color=look["color"], linewidth=1.2)
    axes.plot(value, y, **look | {"linestyle": ""} if _sure(crossing) else style.ring(look))
    # Measured over a part of the range only: the crossing is somewhere beyond that part's end.
    beyond = {
        ALWAYS: crossing.lowest > sparsities[0] and ("≤", -6, "right"),
        NEVER: crossing.highest < sparsities[-1] and (">", 6, "left"),
    }.get(ends.value)
    if beyond:
        sign, shift, side = beyond
        axes.annotate(
            sign, (value, y), xytext=(shift, 0), textcoords="offset points", ha=side, va="center"
        )


def _place(sparsity: float, crossing: Crossover, sparsities: Sequence[float]) -> float:
    """Return the density at which to draw a crossing: beyond the measured ones, in its zone."""
    if math.isfinite(sparsity) or math.isnan(sparsity):
        return 1.0 - sparsity
    end = crossing.lowest if sparsity == ALWAYS else crossing.highest
    if end not in (sparsities[0], sparsities[-1]):
        return 1.0 - end
    return (1.0 - end) * math.sqrt(_zone(sparsities)) ** (1 if sparsity == ALWAYS else -1)


def _zone(sparsities: Sequence[float]) -> float:
    """Return the factor of density that the zones of `always` and `never` are wide."""
    return float(((1.0 - sparsities[0]) / (1.0 - sparsities[-1])) ** 0.2)


def _axis(axes: Axes, sparsities: Sequence[float]) -> None:
    sparsity_axis(axes, sparsities)
    zone, left, right = _zone(sparsities), 1.0 - sparsities[0], 1.0 - sparsities[-1]
    for inner, outer in ((left, left * zone), (right, right / zone)):
        axes.axvspan(inner, outer, color="#D8D8D8", alpha=0.5, zorder=0.5, linewidth=0)
    axes.set_xlim(left * zone, right / zone)
    ticks = [left * math.sqrt(zone), *axes.get_xticks(), right / math.sqrt(zone)]
    axes.set_xticks(ticks, ["\nalways", *(units.percent(1 - t) for t in ticks[1:-1]), "\nnever"])
    axes.set_xlabel("sparsity")
    axes.grid(axis="y", visible=False)

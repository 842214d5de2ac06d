"""The one picture: what a sparse layer saves in time and in memory, and from which sparsity on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sparsebench.analysis.crossover import ALWAYS, NEVER, crossover
from sparsebench.analysis.grouping import group, split
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.order import PHASES, implementations, sizes
from sparsebench.analysis.point import BASELINE, LEAD, Point
from sparsebench.views import units
from sparsebench.views.plots import style
from sparsebench.views.plots.axes import quantity_axis, ratio_axis, sparsity_axis
from sparsebench.views.plots.memories import curve as memory_curve
from sparsebench.views.plots.speedups import draw

FEWEST_SPARSITIES = 4
TYPICAL = 0.9


def headline(points: Sequence[Point]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure of training on the layer that was measured best: time left, memory right."""
    for part in split(points):
        layer = _layer([p for p in part.points if METRICS["speedup"].of(p) is not None])
        if layer:
            yield "-".join(filter(None, ("headline", part.name))), _figure(layer, part.title)


def _layer(points: Sequence[Point]) -> list[Point]:
    """Return the points of one layer: with the most sparsities, the latest phase, largest batch.

    Of the widths, one in the middle is typical. Empty where `ours` has no curve.
    """
    layers = {
        key: members
        for key, members in group(points, "phase", "batch", "size").items()
        if sum(p.case.implementation == LEAD for p in members) >= FEWEST_SPARSITIES
    }
    if not layers:
        return []
    batch = max(key[1] for key in layers)
    phase = max((key[0] for key in layers if key[1] == batch), key=PHASES.index)
    found = sizes(p for key, m in layers.items() if key[:2] == (phase, batch) for p in m)
    return layers[phase, batch, found[len(found) // 2]]


def _figure(points: Sequence[Point], conditions: str) -> Figure:
    names = implementations(points)
    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    time, memory = figure.subplots(1, 2, width_ratios=(1.5, 1.0))
    sparsities = [p.case.sparsity for p in points]

    draw(time, points, [n for n in names if n != BASELINE])
    values = [e.value for p in points if (e := METRICS["speedup"].of(p)) is not None]
    ratio_axis(time, min(values) / 1.3, max(values) * 1.5)
    sparsity_axis(time, sparsities)
    time.set_ylabel("speed-up over dense")
    _annotate(time, [p for p in points if p.case.implementation == LEAD])

    _memory(memory, points, names)
    sparsity_axis(memory, sparsities)
    needed = Line2D([], [], label="needed", **style.NEEDED)
    conditions = style.with_hollow(conditions, any(p.unsure for p in points))
    style.head(figure, _message(points), conditions, names, needed)
    return figure


def _message(points: Sequence[Point]) -> str:
    """Return in words what the figure shows of `ours` at the sparsity next to TYPICAL."""
    case = points[0].case
    ours = [p for p in points if p.case.implementation == LEAD]
    typical = min(ours, key=lambda p: abs(p.case.sparsity - TYPICAL))
    speedup, memory = (METRICS[name].of(typical) for name in ("speedup", "memory_ratio"))
    speedup = None if typical.unsure else speedup
    doing = "Inference" if case.phase == "inference" else "Training"
    size = f"{case.in_features} → {case.out_features}"
    layer = f"{size if case.operation == 'linear' else case.size}, batch {case.batch}"
    parts = []
    if speedup is not None:
        parts.append(f"{units.interval(speedup)} as fast as dense")
    if memory is not None:
        parts.append(f"in {units.percent(float(f'{memory.value:.2g}'))} of its memory")
    at = units.percent(typical.case.sparsity)
    return f"{doing}, {layer}: at {at} sparsity {', '.join(parts)}"


def _annotate(axes: Axes, ours: Sequence[Point]) -> None:
    """Write the speed-ups of `ours` above its curve, and where it crosses the dense layer."""
    colour = style.of(LEAD)["color"]
    for place, point in enumerate(ours):
        speedup = METRICS["speedup"].of(point)
        if speedup is not None and not point.unsure:
            axes.annotate(
                units.ratio(speedup.value),
                (1.0 - point.case.sparsity, speedup.value),
                xytext=(3, 8),
                textcoords="offset points",
                ha="right" if place else "center",
                color=colour,
                weight="bold",
                bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5},
            )
    found = crossover(ours)
    if found is not None:
        words = {ALWAYS: "faster than dense throughout", NEVER: "not faster than dense"}
        value = found.sparsity.value
        text = words.get(value, f"faster than dense from {units.sparsity(value)}")
        if not found.told:
            text = f"{units.CANNOT_TELL} whether it is faster than dense"
        elif not found.sparsity.known:
            text += f" ({units.UNKNOWN_MEANS})"
        axes.set_title(f"Time: {text}", loc="left")


def _memory(axes: Axes, points: Sequence[Point], names: Sequence[str]) -> None:
    for name in reversed(names):
        axes.plot(*memory_curve(points, "peak_memory", name), **style.of(name, names))
    axes.plot(*memory_curve(points, "needed_memory"), **style.NEEDED)
    quantity_axis(axes, "B")
    axes.set_ylabel("peak memory")
    axes.set_title("Memory", loc="left")

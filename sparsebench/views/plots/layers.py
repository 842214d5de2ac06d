"""Speed-up over dense of many layers at a few sparsities: a line of marks for each layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.analysis.grouping import group, split
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.order import implementations, sizes
from sparsebench.analysis.point import BASELINE, Point
from sparsebench.views import units
from sparsebench.views.plots import style
from sparsebench.views.plots.axes import ratio_axis

_FEWEST = 4  # layers, for which curves would need a panel each


def layers(points: Sequence[Point]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure per phase of convolutions; a panel per sparsity that most layers have."""
    for part in split([p for p in points if p.case.operation == "conv2d"], "phase"):
        shown = [p for p in part.points if METRICS["speedup"].of(p) is not None]
        shown = [p for p in shown if p.case.implementation != BASELINE]
        cells = {s: len(group(m, "batch", "size")) for (s,), m in group(shown, "sparsity").items()}
        most = max(cells.values(), default=0)
        if most >= _FEWEST:
            sparsities = sorted(s for s, count in cells.items() if 2 * count > most)
            kept = [p for p in shown if p.case.sparsity in sparsities]
            yield f"layers-{part.name}", _figure(kept, sparsities, part.title)


def _figure(points: Sequence[Point], sparsities: Sequence[float], conditions: str) -> Figure:
    order, names = sizes(points), implementations(points)
    lines = sorted(group(points, "batch", "size"), key=lambda line: (line[0], order.index(line[1])))
    figure = Figure(
        figsize=(2.6 + 2.6 * len(sparsities), 1.3 + 0.24 * len(lines)), layout="constrained"
    )
    panels = figure.subplots(1, len(sparsities), squeeze=False, sharey=True)[0]
    values = [e.value for p in points if (e := METRICS["speedup"].of(p)) is not None]
    for axes, sparsity in zip(panels, sparsities, strict=True):
        axes.set_title(f"{units.percent(sparsity)} sparse")
        own = [p for p in points if p.case.sparsity == sparsity]
        for line, members in group(own, "batch", "size").items():
            _draw(axes, members, lines.index(line), names)
        axes.axvline(1.0, color=style.BLACK, linewidth=0.9, zorder=1.5)
        ratio_axis(axes, min(*values, 0.9) / 1.3, max(*values, 1.1) * 1.3, which="x")
        axes.set_xlabel("speed-up over dense")
    panels[0].set_yticks(range(len(lines)), [f"batch {batch}, {size}" for batch, size in lines])
    panels[0].set_ylim(len(lines) - 0.4, -0.6)
    phase = style.phase_title(points[0].case.phase)
    conditions = style.with_hollow(conditions, any(p.unsure for p in points))
    style.head(figure, f"Speed-up over dense, {phase}", conditions, names, lines=False)
    return figure


def _draw(axes: Axes, points: Sequence[Point], line: int, names: Sequence[str]) -> None:
    for point in sorted(points, key=lambda p: -names.index(p.case.implementation)):
        estimate, look = METRICS["speedup"].of(point), style.of(point.case.implementation, names)
        assert estimate is not None
        axes.plot([estimate.low, estimate.high], [line, line], color=look["color"], linewidth=1.1)
        axes.plot(estimate.value, line, **look | {"linestyle": ""})
        if point.unsure:
            style.hollow(axes, [(estimate.value, line)], look)

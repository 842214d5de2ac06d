"""The plot of a comparison: every ratio with its interval, in order."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sparsebench.analysis.compare import VERDICTS, Comparison, Pair
from sparsebench.views import units
from sparsebench.views.plots import style
from sparsebench.views.plots.axes import ratio_axis

_COLOURS = {
    "faster": style.GREEN,
    "slower": style.VERMILION,
    "same": style.GREY,
    "can't tell": style.ORANGE,
}
_MARKS = {"faster": "v", "slower": "^", "same": "o", "can't tell": "D"}
_NAMED = 40  # with more pairs than this, labels would hide each other


def comparison(found: Comparison) -> Figure:
    """Return a figure with a line for each pair, the largest ratio on top."""
    pairs = sorted(found.pairs, key=lambda pair: pair.ratio[0])
    named = len(pairs) <= _NAMED
    height = 0.9 + (0.19 * len(pairs) if named else 4.2)
    with style.styled():
        figure = Figure(figsize=(7.2, max(height, 1.8)), layout="constrained")
        axes = figure.subplots()
        for line, pair in enumerate(pairs):
            _draw(axes, pair, line)
        ends = [v for p in pairs for v in (p.estimate.low, p.estimate.value, p.estimate.high)]
        low, high = min(v for v in ends if v == v), max(v for v in ends if v == v)
        ratio_axis(axes, min(low, 0.9) / 1.08, max(high, 1.1) * 1.08, which="x")
        axes.set_xticks([t for t in _TICKS if low / 1.2 <= t <= high * 1.2 or 0.8 <= t <= 1.2])
        axes.axvline(1, color="black", linewidth=1.2, zorder=1)
        axes.set_yticks(range(len(pairs)) if named else [], [_name(p) for p in pairs] * named)
        axes.set_ylim(-0.7, len(pairs) - 0.3)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("time in B over time in A (left of 1, B is faster)")
        if not named:
            axes.set_ylabel(f"{len(pairs)} cases, in order")
        counts = found.counts
        handles = [
            Line2D([], [], label=f"{v} ({counts[v]})", linestyle="", **_look(v))
            for v in VERDICTS
            if counts[v]
        ]
        figure.legend(
            handles=handles, loc="outside upper left", ncols=len(handles), alignment="left",
            title="What became of each case", title_fontproperties={"weight": "bold"},
        )  # fmt: skip
    return figure


_TICKS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1, 1.2, 1.5, 2, 3, 5, 10, 20)


def _draw(axes: Axes, pair: Pair, line: int) -> None:
    estimate, look = pair.estimate, _look(pair.verdict)
    axes.plot([estimate.low, estimate.high], [line, line], color=look["color"], linewidth=1.1)
    axes.plot(estimate.value, line, **look)


def _look(verdict: str) -> dict[str, Any]:
    return {"color": _COLOURS[verdict], "marker": _MARKS[verdict]}


def _name(pair: Pair) -> str:
    case = pair.a.case
    return (
        f"{case.implementation}, {pair.a.size}, {units.percent(case.sparsity)}, "
        f"batch {case.batch}, {style.phase_title(case.phase)}"
    )

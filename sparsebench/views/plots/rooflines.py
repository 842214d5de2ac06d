"""Useful operations per second against what the machine allows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sparsebench.analysis.grouping import group, split
from sparsebench.analysis.metrics import METRICS, roof_of
from sparsebench.analysis.order import PHASES, implementations
from sparsebench.analysis.point import Point
from sparsebench.analysis.roofline import Roof
from sparsebench.cases.arithmetic import intensity
from sparsebench.views.plots import style
from sparsebench.views.plots.axes import number_axis, quantity_axis

_MEMORY: dict[str, Any] = {"linewidth": 1.8, "linestyle": "-", "zorder": 2.5}
_CACHE: dict[str, Any] = {"linewidth": 0.9, "linestyle": (0, (4, 2))}


def rooflines(points: Sequence[Point]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure with a panel per phase: the roof, and a mark per measurement."""
    for part in split(points):
        shown = [p for p in part.points if METRICS["roofline"].of(p) is not None]
        if shown:
            yield "-".join(filter(None, ("roofline", part.name))), _figure(shown, part.title)


def _figure(points: Sequence[Point], conditions: str) -> Figure:
    phases = [phase for phase in PHASES if any(p.case.phase == phase for p in points)]
    names = implementations(points)
    figure = Figure(figsize=(1.2 + 2.7 * len(phases), 3.6), layout="constrained")
    panels = figure.subplots(1, len(phases), squeeze=False, sharex=True, sharey=True)[0]
    # As high as the highest of its points': of a dense layer that is faster than the probe.
    limits = (limit for p in points if (limit := roof_of(p)) is not None)
    limit = max(limits, key=lambda one: one.flops, default=None)
    for axes, phase in zip(panels, phases, strict=True):
        axes.set_title(style.phase_title(phase))
        _draw(axes, group(points, "phase")[phase,], names)
        if limit is not None:
            _roof(axes, limit, [intensity(p.case) for p in points])
        quantity_axis(axes, "FLOP/s")
        number_axis(axes)
        axes.set_xlabel("arithmetic intensity (FLOP/B)")
    panels[0].set_ylabel("useful operations per second")
    lines = [Line2D([], [], color=style.BLACK, label="roof in memory", **_MEMORY)]
    if limit is not None and len(limit.streams) > 1:
        lines.append(Line2D([], [], color=style.BLACK, label="roof in the fastest cache", **_CACHE))
    title = "Useful operations under the roof"
    conditions = style.with_hollow(conditions, any(p.disturbed for p in points))
    style.head(figure, title, conditions, names, *lines, lines=False)
    return figure


def _draw(axes: Axes, points: Sequence[Point], names: Sequence[str]) -> None:
    for name in reversed(names):
        own = [p for p in points if p.case.implementation == name]
        rates = {p: e.value for p in own if (e := METRICS["throughput"].of(p)) is not None}
        look = style.of(name, names) | style.marks(len(own)) | {"alpha": 0.8}
        axes.plot([intensity(p.case) for p in rates], [*rates.values()], **look)
        places = [(intensity(p.case), rate) for p, rate in rates.items() if p.disturbed]
        style.hollow(axes, places, look)


def _roof(axes: Axes, limit: Roof, intensities: Sequence[float]) -> None:
    """Draw the roof over main memory, and a thinner one over the fastest cache."""
    end = max(*intensities, limit.flops / limit.bandwidth(math.inf)) * 2
    for footprint, look in ((0.0, _CACHE), (math.inf, _MEMORY)):
        bandwidth = limit.bandwidth(footprint)
        x = np.array([min(intensities) / 2, limit.flops / bandwidth, end])
        axes.plot(x, np.minimum(limit.flops, bandwidth * x), color=style.BLACK, **look)

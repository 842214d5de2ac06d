"""Intervals around a curve, as a band of its colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from math import isfinite

from matplotlib.axes import Axes

from sparsebench.analysis.estimates import Estimate


def band(axes: Axes, x: Sequence[float], estimates: Iterable[Estimate], colour: str) -> None:
    """Draw the intervals of a curve; where one is not known, the band is interrupted.

    `Axes.fill_between` would set the limits of all panels that share an axis anew for each band,
    which takes time by the square of their number.
    """
    places = zip(x, estimates, strict=True)
    for known, run in groupby(places, lambda place: isfinite(place[1].high - place[1].low)):
        if known:
            there = list(run)
            outline = [(at, e.low) for at, e in there] + [(at, e.high) for at, e in there[::-1]]
            axes.fill(*zip(*outline, strict=True), color=colour, alpha=0.18, linewidth=0)

"""Times and speed-ups of many points at once: each keeps its own, as if it had been asked alone."""

from __future__ import annotations

from collections.abc import Iterable

from sparsebench.analysis.baselines import keep_over
from sparsebench.analysis.point import Point
from sparsebench.analysis.relative import relate
from sparsebench.analysis.series import estimates, ratios


def work_out(points: Iterable[Point]) -> None:
    """Work out `seconds`, the ratio to the dense layer, and those to the fastest of the problem."""
    timed = [point for point in points if point.ok and "seconds" not in vars(point)]
    for point, found in zip(timed, estimates([p.rounds for p in timed]), strict=True):
        vars(point)["seconds"] = found
    pairs = [(dense, point) for point in timed if (dense := point.baseline) is not None]
    over = ratios([(dense.rounds, point.rounds) for dense, point in pairs])
    for (dense, point), found in zip(pairs, over, strict=True):
        keep_over([dense], point, found)
    relate(point.rivals for point in timed)

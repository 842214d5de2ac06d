"""Time of k-winners against the share of units that are set to zero, beside a ReLU's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure

from sparsebench.analysis.point import Point
from sparsebench.views.plots.times import times


def k_winners(points: Sequence[Point]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure per phase; a row of panels per batch, a column per number of units."""
    own = [p for p in points if p.case.operation == "k_winners"]
    for name, figure in times(own, of="k-winners (dense: ReLU)") if own else ():
        yield name.replace("time", "k-winners", 1), figure

"""Figures of records, for paper and screen; they never measure.

A plot is a function from points to named figures: add one to PLOTS, or to BESIDE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from matplotlib.figure import Figure

from sparsebench.analysis.grouping import CONDITIONS, group
from sparsebench.analysis.matrices import drawn
from sparsebench.analysis.point import Point
from sparsebench.analysis.questions import pays
from sparsebench.views.plots.construction import construction
from sparsebench.views.plots.crossovers import crossovers
from sparsebench.views.plots.deploy import deploys
from sparsebench.views.plots.dynamic import dynamic
from sparsebench.views.plots.headline import headline
from sparsebench.views.plots.k_winners import k_winners
from sparsebench.views.plots.layers import layers
from sparsebench.views.plots.leagues import leagues
from sparsebench.views.plots.matrices import matrices
from sparsebench.views.plots.memories import memories
from sparsebench.views.plots.rooflines import rooflines
from sparsebench.views.plots.scaling import scaling
from sparsebench.views.plots.speedups import speedups
from sparsebench.views.plots.structures import structures
from sparsebench.views.plots.style import save, styled
from sparsebench.views.plots.times import times
from sparsebench.views.plots.zeros import zeros

__all__ = ["BESIDE", "PLOTS", "figures", "save"]

Plot = Callable[[Sequence[Point]], Iterator[tuple[str, Figure]]]

# Does sparse pay in place of dense?
PLOTS: tuple[Plot, ...] = (
    headline,
    speedups,
    structures,
    layers,
    times,
    crossovers,
    memories,
    rooflines,
    leagues,
    deploys,
)

# What is asked beside that.
BESIDE: tuple[Plot, ...] = (construction, dynamic, k_winners, zeros)


def figures(points: Sequence[Point]) -> Iterator[tuple[str, Figure]]:
    """Yield a file name, without extension, and a figure for everything that can be drawn.

    Where a layer was timed with several numbers of threads, one figure compares them, and the
    others show the number that has the most measurements: the tables have all.
    """
    with styled():
        of_layers = pays(drawn(points))
        main = list(_most_measured_threads(of_layers))
        for plot in PLOTS:
            yield from plot(main)
        yield from scaling(of_layers)
        every = list(_most_measured_threads(drawn(points)))
        for plot in BESIDE:
            yield from plot(every)
        yield from matrices(points)


def _most_measured_threads(points: Sequence[Point]) -> Iterator[Point]:
    for members in group(points, *(c for c in CONDITIONS if c != "threads")).values():
        counts = group(members, "threads")
        yield from max(counts.items(), key=lambda item: (len(item[1]), item[0]))[1]

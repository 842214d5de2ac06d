"""What tables and plots ask of draws, worked out layer by layer.

The draws of a hundred thousand points are too many to be kept. Those of a layer are not: all that
is asked of them is computed while they are there, and kept with the points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sparsebench.analysis.crossover import crossover
from sparsebench.analysis.grouping import group, split
from sparsebench.analysis.league import Tally, league, problems
from sparsebench.analysis.once import keep
from sparsebench.analysis.point import BASELINE, Point


def work_out(points: Sequence[Point], *asked: Callable[[Point], object]) -> None:
    """Work out the crossovers, the leagues, and what `asked` finds out of each of the points.

    Each keeps what it finds: `crossover` and `league` are told it when they are asked.
    """
    for part in split(points):
        phases = group(part.points, "phase")
        tallies = {phase: [Tally(members)] for (phase,), members in phases.items()}
        if len(phases) > 1:
            whole = Tally(part.points)
            for several in tallies.values():
                several.append(whole)
        for (phase, _, _), layer in group(part.points, "phase", "batch", "size").items():
            _work_out(layer, tallies[phase], asked)
        for (phase,), members in phases.items():
            keep(league, members, tallies[phase][0].standings())
        if len(phases) > 1:
            keep(league, part.points, whole.standings())


def _work_out(
    layer: Sequence[Point], tallies: Sequence[Tally], asked: Sequence[Callable[[Point], object]]
) -> None:
    for (name,), curve in group(layer, "implementation").items():
        if name != BASELINE:
            crossover(curve)
    for problem in problems(layer):
        for tally in tallies:
            tally.add(problem)
        for point in problem:
            for find in asked:
                find(point)

"""In which order points, and what they are of, are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from sparsebench.analysis.grouping import CONDITIONS
from sparsebench.analysis.point import BASELINE, LEAD, Point
from sparsebench.cases.case import Case

PHASES = ("construction", "rewiring", "inference", "forward_backward", "train_step")

_FIRST = {LEAD: 0, "masked": 2, "dense_compiled": 3, BASELINE: 4}
_conditions = itemgetter(*CONDITIONS)


def main_phases(points: Iterable[Point]) -> list[str]:
    """Return the phases among `points`; forward + backward only where no training step has it."""
    found = {p.case.phase for p in points}
    if "train_step" in found:
        found.discard("forward_backward")
    return [phase for phase in PHASES if phase in found]


def sizes(points: Iterable[Point]) -> list[str]:
    """Return the sizes of the layers, the small ones first."""
    one = {p.size: p.case for p in points}
    found = {size: _extent(case) for size, case in one.items()}
    return sorted(found, key=lambda size: found[size])


def implementations(points: Iterable[Point]) -> list[str]:
    """Return the names of the implementations: ours, then the others, then the dense ones."""
    return sorted({p.case.implementation for p in points}, key=_rank)


def in_order(problems: Iterable[Sequence[Point]]) -> list[Point]:
    """Return the points of all problems by the conditions, then the problem, then who measured."""
    known = list(problems)
    of = [_conditions(points[0].fields) for points in known]
    places = {found: n for n, found in enumerate(sorted(set(of)))}  # compared once, not each time

    def order(number: int) -> tuple[Any, ...]:
        case = known[number][0].case
        problem = (PHASES.index(case.phase), case.batch, *_extent(case), case.sparsity)
        return places[of[number]], *problem

    ordered = sorted(range(len(known)), key=order)
    return [point for number in ordered for point in sorted(known[number], key=_rank_of)]


def _extent(case: Case) -> tuple[int, ...]:
    """Return what layers are ordered by: 3×3 convolutions before 1×1, networks in their order."""
    window = (-case.kernel, case.stride, case.in_features, case.out_features)
    return *window, case.image, case.padding, case.groups, round(1e4 * case.input_sparsity)


def _rank_of(point: Point) -> tuple[int, str]:
    return _rank(point.case.implementation)


def _rank(implementation: str) -> tuple[int, str]:
    return _FIRST.get(implementation, 1), implementation

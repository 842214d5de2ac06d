"""Cliffs: points that take longer than a larger one, for what a shape happens to be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

import pandas as pd

from sparsebench.analysis.estimates import Estimate
from sparsebench.analysis.grouping import CONDITIONS, group
from sparsebench.analysis.point import Point
from sparsebench.cases.case import Case
from sparsebench.views import units
from sparsebench.views.tables.table import Table, labels_of, noted, tidy

LIMIT = 1.3

# By which field a point is smaller than its neighbour: how much work that makes it, and what both
# have in common. Fewer zeros are more work.
_FIELDS: dict[str, tuple[Callable[[Case], float], tuple[str, str]]] = {
    "batch": (lambda case: case.batch, ("size", "sparsity")),
    "width": (lambda case: case.in_features * case.out_features, ("batch", "sparsity")),
    "sparsity": (lambda case: 1 - case.sparsity, ("batch", "size")),
}


class _Step(NamedTuple):
    """A point, and the next larger one."""

    smaller: Point
    larger: Point

    @property
    def value(self) -> float:
        """The logarithm of the time of the first over that of the second."""
        return self.smaller.rounds.typical - self.larger.rounds.typical

    @property
    def ratio(self) -> Estimate:
        """The ratio with its interval."""
        return self.smaller.rounds.over(self.larger.rounds)


def cliffs(points: Sequence[Point]) -> Table:
    """Return how often a point takes over 1.3 times as long as the next larger one, and where."""
    numbers, text = [], []
    for members in _comparable(points):
        labels = labels_of(members[0])
        labels = {name: labels[name] for name in (*CONDITIONS, "phase", "implementation")}
        for by in _FIELDS:
            if not (steps := list(_steps(members, by))):
                continue
            values = [step.value for step in steps]
            worst = steps[values.index(max(values))]
            beyond = [s for s, value in zip(steps, values, strict=True) if value > math.log(LIMIT)]
            counts = {
                "steps": len(steps),
                "beyond": len(beyond),
                "certain": sum(step.ratio.low > LIMIT for step in beyond),
            }
            ratio = worst.ratio
            numbers.append(labels | {"by": by} | counts | {"worst": ratio.value})
            text.append(
                labels
                | {
                    "next larger by": by,
                    "steps": str(counts["steps"]),
                    f"over {LIMIT}×": str(counts["beyond"]),
                    "for certain": str(counts["certain"]),
                    "worst": units.interval(ratio),
                    "where": _where(worst, by),
                }
            )
    caption = f"Cliffs: time over that of the next larger point, and where it is over {LIMIT}×"
    return Table("cliffs", noted(caption, text), pd.DataFrame(numbers), tidy(text))


def _comparable(points: Sequence[Point]) -> Iterable[list[Point]]:
    return group(points, *CONDITIONS, "phase", "implementation").values()


def _steps(points: Sequence[Point], by: str) -> Iterator[_Step]:
    """Yield every point that was timed with its next larger neighbour in the field `by`."""
    timed = [point for point in points if point.decides]
    work, shared = _FIELDS[by]
    for members in group(timed, *shared).values():
        ordered = sorted([(work(point.case), point) for point in members], key=itemgetter(0))
        for (less, smaller), (more, larger) in pairwise(ordered):
            if less < more:
                yield _Step(smaller, larger)


def _where(step: _Step, by: str) -> str:
    a, b = step.smaller, step.larger
    sizes = a.size if by != "width" else f"{a.size} against {b.size}"
    batches = f"{a.case.batch}" if by != "batch" else f"{a.case.batch} against {b.case.batch}"
    zeros = units.percent(a.case.sparsity)
    if by == "sparsity":
        zeros += f" against {units.percent(b.case.sparsity)}"
    return f"{sizes}, batch {batches}, {zeros}"

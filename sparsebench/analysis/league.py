"""Who is ahead over many problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sparsebench.analysis.baselines import fastest
from sparsebench.analysis.estimates import Estimate, OverProblems
from sparsebench.analysis.grouping import group
from sparsebench.analysis.metrics import memory_ratio
from sparsebench.analysis.once import once
from sparsebench.analysis.point import Point
from sparsebench.analysis.relative import logs_behind

# Of the problems: whose times are of fewer does not stand before those that were timed at as many.
_MOST = 0.9

# What becomes of a problem: won by the fastest where the intervals tell it from every other; a tie
# of the fastest with those that they do not; "fastest" where there is no interval.
Outcome = Literal["win", "tie", "fastest"]


@dataclass(frozen=True)
class Standing:
    """One implementation over all problems of a league.

    `relative_time` and `memory_ratio` are geometric means over the problems it was timed on:
    compare them where `timed` agrees. `outcomes` counts the problems it won, those where the
    interval of its time over the fastest one's, or of the next one's over its own, holds 1 (a tie),
    and those where it was the fastest, and too few processes were measured for an interval. Times
    that other work disturbed count for nothing.
    """

    implementation: str
    problems: int
    timed: int
    outcomes: Counter[Outcome]
    relative_time: Estimate | None
    memory_ratio: float | None
    failures: Counter[str]

    @property
    def wins(self) -> int:
        """How many problems it won for certain."""
        return self.outcomes["win"]


@once
def league(points: Sequence[Point]) -> list[Standing]:
    """Return the standings of all implementations among `points`, the fastest first.

    Those that were timed at less than nine tenths of the problems come after all others.
    """
    tally = Tally(points)
    for problem in problems(points):
        tally.add(problem)
    return tally.standings()


def problems(points: Sequence[Point]) -> Collection[Sequence[Point]]:
    """Return the points of each problem, in the order they come."""
    return group(points, "machine", "problem").values()


class Tally:
    """The league of `points`, to which one problem is added after the other, in their order.

    So several leagues can be made of the same draws, which are too many to be kept.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = points
        counts = Counter(p.case.implementation for p in points if p.decides)
        self._means = {name: OverProblems(count) for name, count in counts.items()}
        self._outcomes: dict[str, Counter[Outcome]] = {}
        self._problems = 0

    def add(self, problem: Sequence[Point]) -> None:
        """Add a problem: the points are its implementations'."""
        self._problems += 1
        for name, outcome in outcome_of(problem).items():
            self._outcomes.setdefault(name, Counter())[outcome] += 1
        for point in problem:
            if point.decides:
                name = point.case.implementation
                self._means[name].add(logs_behind(point.rivals)[name])

    def standings(self) -> list[Standing]:
        """Return the standings, once all problems have been added."""
        times = {name: Estimate.of(mean.draws) for name, mean in self._means.items()}
        found = [
            Standing(
                implementation=name,
                problems=self._problems,
                timed=sum(p.decides for p in own),
                outcomes=self._outcomes.get(name, Counter()),
                relative_time=times.get(name),
                memory_ratio=_mean_memory(own),
                failures=Counter(p.record.status for p in own if not p.ok),
            )
            for (name,), own in group(self._points, "implementation").items()
        ]
        return sorted(found, key=_rank)


@once
def outcome_of(problem: Sequence[Point]) -> dict[str, Outcome]:
    """Say who won, or shared, a problem: the points are its implementations'."""
    timed = [p for p in problem if p.decides]
    if not timed:
        return {}
    first = fastest(timed)
    behind = {p.case.implementation: p.rounds.over(first.rounds) for p in timed if p is not first}
    leader = first.case.implementation
    if not all(ratio.known for ratio in behind.values()):
        return {leader: "fastest"}
    ties: list[str] = [name for name, ratio in behind.items() if ratio.low <= 1]
    return dict.fromkeys((leader, *ties), "tie") if ties else {leader: "win"}


def _mean_memory(points: Iterable[Point]) -> float | None:
    found = [ratio for p in points if (ratio := memory_ratio(p)) is not None]
    return float(np.exp(np.mean(np.log(found)))) if found else None


def _rank(standing: Standing) -> tuple[bool, float, str]:
    """Put last who was timed at few problems: those may be the ones that suit it."""
    time = standing.relative_time
    few = standing.timed < _MOST * standing.problems
    return few, (float("inf") if time is None else time.value), standing.implementation

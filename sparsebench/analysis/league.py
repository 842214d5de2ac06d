"""Who is ahead over many problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sparsebench.analysis.estimates import Estimate, over_problems
from sparsebench.analysis.metrics import memory_ratio, relative_draws
from sparsebench.analysis.points import Point, group

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


def league(points: Sequence[Point]) -> list[Standing]:
    """Return the standings of all implementations among `points`, the fastest first."""
    problems = group(points, "machine", "problem")
    outcomes: dict[str, Counter[Outcome]] = {}
    for members in problems.values():
        for name, outcome in outcome_of(members).items():
            outcomes.setdefault(name, Counter())[outcome] += 1
    standings = [
        _standing(name, members, len(problems), outcomes)
        for (name,), members in group(points, "implementation").items()
    ]
    return sorted(standings, key=_rank)


def outcome_of(problem: Sequence[Point]) -> dict[str, Outcome]:
    """Say who won, or shared, a problem: the points are its implementations'."""
    timed = [p for p in problem if p.decides]
    if not timed:
        return {}
    first = min(timed, key=lambda p: float(p.time[0]))
    behind = {
        p.case.implementation: Estimate.of(p.time / first.time) for p in timed if p is not first
    }
    leader = first.case.implementation
    if not all(ratio.known for ratio in behind.values()):
        return {leader: "fastest"}
    ties: list[str] = [name for name, ratio in behind.items() if ratio.low <= 1]
    return dict.fromkeys((leader, *ties), "tie") if ties else {leader: "win"}


def _standing(
    name: str, points: Sequence[Point], problems: int, outcomes: Mapping[str, Counter[Outcome]]
) -> Standing:
    sure = [p for p in points if not p.disturbed]
    times = [draws for p in sure if (draws := relative_draws(p)) is not None]
    memory = [ratio for p in points if (ratio := memory_ratio(p)) is not None]
    return Standing(
        implementation=name,
        problems=problems,
        timed=len(times),
        outcomes=outcomes.get(name, Counter()),
        relative_time=Estimate.of(over_problems(times)) if times else None,
        memory_ratio=float(np.exp(np.mean(np.log(memory)))) if memory else None,
        failures=Counter(p.record.status for p in points if not p.ok),
    )


def _rank(standing: Standing) -> tuple[float, str]:
    time = standing.relative_time
    return (float("inf") if time is None else time.value), standing.implementation

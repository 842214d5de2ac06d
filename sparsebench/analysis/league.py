"""Who is ahead over many problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sparsebench.analysis.estimates import Estimate, geometric_mean
from sparsebench.analysis.metrics import memory_ratio, relative_draws
from sparsebench.analysis.points import Point, group


@dataclass(frozen=True)
class Standing:
    """One implementation over all problems of a league.

    `relative_time` and `memory_ratio` are geometric means over the problems it was timed on:
    compare them where `timed` agrees. Times that other work disturbed count for nothing.
    """

    implementation: str
    problems: int
    timed: int
    wins: int
    relative_time: Estimate | None
    memory_ratio: float | None
    failures: Counter[str]


def league(points: Sequence[Point]) -> list[Standing]:
    """Return the standings of all implementations among `points`, the fastest first."""
    problems = len(group(points, "machine", "problem"))
    standings = [
        _standing(name, members, problems)
        for (name,), members in group(points, "implementation").items()
    ]
    return sorted(standings, key=_rank)


def _standing(name: str, points: Sequence[Point], problems: int) -> Standing:
    sure = [p for p in points if not p.disturbed]
    times = [draws for p in sure if (draws := relative_draws(p)) is not None]
    memory = [ratio for p in points if (ratio := memory_ratio(p)) is not None]
    return Standing(
        implementation=name,
        problems=problems,
        timed=len(times),
        wins=sum(bool(draws[0] == 1.0) for draws in times),
        relative_time=Estimate.of(geometric_mean(times)) if times else None,
        memory_ratio=float(np.exp(np.mean(np.log(memory)))) if memory else None,
        failures=Counter(p.record.status for p in points if not p.ok),
    )


def _rank(standing: Standing) -> tuple[float, str]:
    time = standing.relative_time
    return (float("inf") if time is None else time.value), standing.implementation

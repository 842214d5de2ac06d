"""Change points in a series of ratios over commits: where a workload became slower or faster.

At each commit the newest four and five ratios are held against those before them, back to the last
change, by Student's t of the logarithms. Outliers are pulled in first, as single checks on a busy
machine are far off. How often that finds a change, and how often one that is none,
`benchmarks/change_points.py` simulates, beside Apache Otava on the same series.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

NEWEST = (4, 5)  # of fewer, two outliers are as many as a change
LEAST = 15  # ratios before a change, to know their scatter
MOST = 40  # of them that count
CHANCE = 8e-5  # of such a t where nothing changed
_FAR = 2.0  # standard deviations from the median, to which outliers are pulled in
_PULLED = 0.96  # a normal distribution's standard deviation when its ends are pulled in so far
_NORMAL = 1.4826  # a normal distribution's standard deviation over its median deviation

Logs = NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """The first place that changed, the one at which that was seen, and after over before."""

    place: int
    seen: int
    ratio: float


def changes(ratios: Sequence[float]) -> list[Change]:
    """Return the changes in positive `ratios`, in the order of their commits."""
    logs = np.log(np.asarray(ratios, dtype=np.float64))
    found: list[Change] = []
    begin = 0  # of what is alike
    for now in range(len(logs)):
        if any(_certain(logs, max(begin, p - MOST), p, now + 1) for p in _places(now)):
            place = _split(logs, begin, now + 1)
            step = np.median(logs[place : now + 1]) - np.median(
                logs[max(begin, place - MOST) : place]
            )
            found.append(Change(place, now, float(np.exp(step))))
            begin = place
    return found


def _places(now: int) -> list[int]:
    return [now + 1 - count for count in NEWEST]


def _split(logs: Logs, begin: int, end: int) -> int:
    """Return where to split the newest, so that both sides scatter least about their medians."""
    places = range(max(begin + 1, end - max(NEWEST) - 1), end)

    def scatter(place: int) -> float:
        sides = logs[max(begin, place - MOST) : place], logs[place:end]
        return float(sum(np.abs(side - np.median(side)).sum() for side in sides))

    return min(places, key=scatter)


def _certain(logs: Logs, begin: int, place: int, end: int) -> bool:
    """Return whether the mean jumps at `place` by more than chance allows."""
    if place - begin < LEAST:
        return False
    before, after = logs[begin:place], logs[place:end]
    middle = np.median(before)
    reach = _FAR * _NORMAL * float(np.median(np.abs(before - middle)))
    before, after = (
        np.clip(part, np.median(part) - reach, np.median(part) + reach) for part in (before, after)
    )
    step = float(after.mean() - before.mean())
    scatter = float(before.std(ddof=1)) / _PULLED * math.sqrt(1 / len(before) + 1 / len(after))
    return abs(step) > max(scatter, 1e-12) * _limit(len(before) - 1)


def _limit(freedom: int) -> float:
    """Return the t that chance passes with CHANCE (Abramowitz and Stegun 26.7.5)."""
    z = NormalDist().inv_cdf(1 - CHANCE / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / freedom**power for power, term in enumerate(terms, start=1))

"""Whether one way to train is better than another, by runs that share their seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Paired:
    """The mean difference of two sets of runs, its deviation over the seeds, and how sure it is.

    `p` is that of a paired t-test, two-sided: how likely a difference as large would be by chance,
    if there were none. `runs` is the number of seeds.
    """

    mean: float
    deviation: float
    p: float
    runs: int


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Paired | None:
    """Compare numbers of the same seeds; None where fewer than two are in both.

    Source: Student 1908, The probable error of a mean (Biometrika 6).
    """
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < 2:
        return None
    differences = [ours[seed] - theirs[seed] for seed in seeds]
    mean, deviation = statistics.fmean(differences), statistics.stdev(differences)
    if deviation == 0.0:
        p = 1.0 if mean == 0.0 else 0.0
    else:
        p = beyond(mean / (deviation / math.sqrt(len(seeds))), len(seeds) - 1)
    return Paired(mean, deviation, p, len(seeds))


def beyond(t: float, degrees: int) -> float:
    """Return how likely Student's t of so many degrees of freedom is to be beyond ±|t|.

    Source: Abramowitz and Stegun 1964, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    angle = math.atan(abs(t) / math.sqrt(degrees))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    within = 2.0 / math.pi * (angle + sine * total) if odd else sine * total
    return max(0.0, 1.0 - within)

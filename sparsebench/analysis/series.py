"""The rounds of one thing that was timed, and what Student's t says of them.

One series of n rounds needs no draws: the replicas of its typical time are exactly Student's t with
n − 1 degrees of freedom, about the mean of the logarithms. Nor does a ratio of two series of the
same rounds: its logarithm is one such series, of the differences round by round, and the machine's
speed in a round has left it. What has no such form is computed on draws: the least of several,
means over problems, crossovers, ratios of what was measured in other rounds.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from operator import sub
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsebench.analysis.estimates import CONFIDENCE, LEAST_ROUNDS, RESAMPLES, Draws, Estimate

_LARGEST = 709  # logarithm of a number that a float can be


class Series(NamedTuple):
    """The numbers of rounds, ascending, and the logarithms of their medians.

    `typical` is the logarithm of `value`: the geometric mean of the medians, or what was given.
    Rounds of a number are the same ones in all series of a `name`, and others in those of another.
    """

    name: str
    rounds: tuple[int, ...]
    logs: tuple[float, ...]
    typical: float
    value: float

    @classmethod
    def of(cls, medians: Mapping[int, float], name: str, value: float | None = None) -> Series:
        """Return the series of the medians of at least one round, by their numbers."""
        rounds = tuple(sorted(medians))
        logs = tuple([math.log(medians[number]) for number in rounds])
        if value is not None:
            return cls(name, rounds, logs, math.log(value), value)
        typical = math.fsum(logs) / len(logs)
        alone = medians[rounds[0]] if len(rounds) == 1 else _exp(typical)
        return cls(name, rounds, logs, typical, alone)

    @property
    def estimate(self) -> Estimate:
        """The value with its 95% interval; without one of fewer than LEAST_ROUNDS."""
        return _estimate(self.logs, self.typical, self.value)

    @property
    def draws(self) -> Draws:
        """The logarithm of the value, and replicas of it."""
        return np.asarray(draws_of([self], self.name)[0])

    def over(self, other: Series) -> Estimate:
        """Return the ratio to another series, of whatever rounds that is."""
        if self.name == other.name and self.rounds == other.rounds:
            typical = self.typical - other.typical
            return _estimate([*map(sub, self.logs, other.logs)], typical, _exp(typical))
        return Estimate.of_logs((self.draws - other.draws)[None])[0]


def _estimate(logs: Sequence[float], typical: float, value: float) -> Estimate:
    count = len(logs)
    if count < LEAST_ROUNDS:
        return Estimate(value, math.nan, math.nan)
    mean = math.fsum(logs) / count
    squares = math.fsum([(log - mean) ** 2 for log in logs])
    half = student(count) * math.sqrt(squares / (count * (count - 1)))
    return Estimate(value, _exp(typical - half), _exp(typical + half))


def estimates(series: Sequence[Series]) -> list[Estimate]:
    """Return the `estimate` of each: of many in a fraction of the time."""
    logs = [one.logs for one in series]
    return _estimates(logs, [one.typical for one in series], [one.value for one in series])


def ratios(pairs: Sequence[tuple[Series, Series]]) -> list[Estimate]:
    """Return the first of each pair over the second, as `over` does."""
    alike = [(a, b) for a, b in pairs if a.name == b.name and a.rounds == b.rounds]
    logs = [tuple(map(sub, a.logs, b.logs)) for a, b in alike]
    typical = [a.typical - b.typical for a, b in alike]
    found = iter(_estimates(logs, typical, [_exp(log) for log in typical]))
    return [
        next(found) if a.name == b.name and a.rounds == b.rounds else a.over(b) for a, b in pairs
    ]


def _estimates(
    logs: Sequence[tuple[float, ...]], typical: Sequence[float], values: Sequence[float]
) -> list[Estimate]:
    """Return what `Series.estimate` says of each, computed together where rounds are as many."""
    alike: dict[int, list[int]] = {}
    for place, own in enumerate(logs):
        alike.setdefault(len(own), []).append(place)
    middle, half = np.array(typical), np.full(len(logs), math.nan)
    for count, places in alike.items():
        if count >= LEAST_ROUNDS:
            rows = np.array([logs[place] for place in places])
            rows -= rows.mean(axis=1, keepdims=True)
            squares = (rows**2).sum(axis=1)
            half[places] = student(count) * np.sqrt(squares / (count * (count - 1)))
    ends = np.stack([middle - half, middle + half])
    ends[ends >= _LARGEST] = math.inf
    return list(map(Estimate, values, *np.exp(ends).tolist()))


def round_draws(rounds: Mapping[int, Sequence[float]], *, name: str) -> Draws:
    """Return the typical sample of several rounds, by their numbers, and replicas of it.

    That is the geometric mean of the rounds' medians; the replicas scatter about it. Those of fewer
    than LEAST_ROUNDS are NaN.
    """
    series = Series.of({number: median(samples) for number, samples in rounds.items()}, name)
    draws = np.exp(series.draws)
    draws[0] = series.value
    return draws


def draws_of(series: Sequence[Series], name: str) -> Draws:
    """Return a row of logarithms for each series: its typical time, and replicas of that.

    Replicas come from a multiplier bootstrap of the rounds (Wu: Jackknife, bootstrap and other
    resampling methods in regression analysis, 1986): every round's deviation from the mean log is
    weighted by a normal number, and their sum studentised. For one series of n rounds that gives
    exactly the t interval with n − 1 degrees of freedom; to draw rounds with replacement would
    give, for three of them, at most the range, which holds the truth in 75% of cases.

    Equal names give equal weights to rounds of a number: what is measured in the same rounds is
    resampled together, and the machine's speed in a round cancels in a ratio. Different names are
    independent.
    """
    draws = np.empty((len(series), 1 + RESAMPLES))
    draws[:, 0] = [one.typical for one in series]
    alike: dict[tuple[int, ...], list[int]] = {}
    for row, one in enumerate(series):
        alike.setdefault(one.rounds, []).append(row)
    for rounds, rows in alike.items():
        if len(rounds) < LEAST_ROUNDS:
            draws[rows, 1:] = math.nan
            continue
        logs = np.array([series[row].logs for row in rows])
        logs -= logs.mean(axis=1, keepdims=True)
        if len(alike) == 1:  # all but always: then nothing is copied
            replicas = np.matmul(logs, _weights(name, rounds), out=draws[:, 1:])
            replicas += draws[:, :1]
        else:
            draws[rows, 1:] = logs @ _weights(name, rounds) + draws[rows, :1]
    return draws


@cache
def student(rounds: int) -> float:
    """Return how many standard errors a CONFIDENCE interval of the mean of rounds reaches.

    That is a quantile of Student's t, of rounds − 1 degrees of freedom, at least 2.
    """
    freedom = rounds - 1
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        low, high = (angle, high) if _within(angle, freedom) < CONFIDENCE else (low, angle)
    return math.sqrt(freedom) * math.tan(high)


def _within(angle: float, freedom: int) -> float:
    """Return how probable it is that |t| is less than the root of `freedom` times tan(angle).

    For whole degrees of freedom it is a finite series: Abramowitz and Stegun, Handbook of
    Mathematical Functions, 1964, 26.7.3 and 26.7.4.
    """
    odd, cosine = freedom % 2, math.cos(angle)
    term = total = cosine**odd
    for k in range(2 + odd, freedom, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    share = math.sin(angle) * total
    return 2 / math.pi * (angle + share) if odd else share


@lru_cache(maxsize=64)
def _weights(name: str, rounds: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the weights (rounds, RESAMPLES) of rounds: a round's are those of its number."""
    n, seed, last = len(rounds), zlib.crc32(name.encode()), rounds[-1]
    # Two streams, each filled round by round: a round's part is the same however many follow.
    normal, other = (
        np.random.default_rng([seed, stream]).standard_normal((last + 1, RESAMPLES))
        for stream in (0, 1)
    )
    if last + 1 > n:
        normal, other = normal[list(rounds)], other[list(rounds)]
    # In place: of thousands of names, to ask for memory takes as long as to compute.
    other *= other
    spread = np.add.reduce(other[1:], axis=0)
    spread /= n - 1
    np.sqrt(spread, out=spread)
    spread *= math.sqrt(n * (n - 1))
    normal /= spread
    return normal


def _exp(log: float) -> float:
    return math.exp(log) if log < _LARGEST else math.inf

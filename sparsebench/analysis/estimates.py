"""A number that was measured, and how far it can be trusted.

What differs between two measurements of the same thing differs between processes and between
minutes far more than between the calls of one process. So the unit that is resampled is the round:
one process's turn, of which the median counts. Samples within a round add to the scatter of these
medians, and are in it already; to resample them as well would count them twice.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from statistics import median

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
CONFIDENCE = 0.95
LEAST_ROUNDS = 3  # with fewer there is no interval

# A point value followed by RESAMPLES bootstrap replicas of it: NaN where there is no interval.
# Ratios, geometric means and crossovers are computed on whole arrays of draws, so that every
# interval has the same source.
Draws = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval; an exact value has an interval of no width.

    The ends are NaN where fewer than LEAST_ROUNDS processes were measured: no comparison with them
    holds, so that nothing is decided by such a value.
    """

    value: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Estimate:
        """Return a value that is counted, not sampled."""
        return cls(float(value), float(value), float(value))

    @classmethod
    def of(cls, draws: Draws) -> Estimate:
        """Return the point value and the percentile interval of `draws`, infinities allowed."""
        value, replicas = float(draws[0]), draws[1:]
        if np.isnan(replicas).any():
            return cls(value, math.nan, math.nan)
        low, high = _quantiles(replicas)
        return cls(value, min(float(low), value), max(float(high), value))

    @classmethod
    def of_logs(cls, logs: Draws) -> list[Estimate]:
        """Return the same for each row of logarithms of draws.

        That takes a fraction of the time that they take one by one, and no exponential of all.
        """
        values, replicas = logs[:, 0], logs[:, 1:]
        unknown = np.isnan(replicas).any(axis=1)
        low, high = _quantiles(replicas)
        ends = np.exp([values, np.minimum(low, values), np.maximum(high, values)])
        ends[1:, unknown] = math.nan
        return list(map(cls, *ends.tolist()))

    @classmethod
    def over(cls, exact: float, divisor: Estimate) -> Estimate:
        """Return an exact number divided by an estimate."""
        return cls(exact / divisor.value, exact / divisor.high, exact / divisor.low)

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    @property
    def plain(self) -> dict[str, float | None]:
        """The three numbers as JSON has them: null for what is not known, or infinite."""
        return {name: v if math.isfinite(v) else None for name, v in asdict(self).items()}


def _quantiles(replicas: Draws) -> tuple[Draws, Draws]:
    """Return the ends of the interval, along the last axis.

    Quantiles that are one of the replicas: interpolating between infinities is undefined.
    """
    count, tail = replicas.shape[-1], (1.0 - CONFIDENCE) / 2
    below = max(math.ceil(count * tail), 1) - 1
    above = max(math.ceil(count * (1.0 - tail)), 1) - 1
    # One after the other: NumPy finds one of them several times as fast as two at once.
    ordered = np.partition(replicas, below, axis=-1)
    rest = np.partition(ordered[..., below:], above - below, axis=-1)
    return ordered[..., below], rest[..., above - below]


def round_draws(
    rounds: Mapping[int, Sequence[float]], *, name: str, value: float | None = None
) -> Draws:
    """Return the typical sample of several rounds, by their numbers, and replicas of it.

    That is the geometric mean of the rounds' medians, or `value` where it is given; the replicas
    scatter about it. Those of fewer than LEAST_ROUNDS are NaN.

    Replicas come from a multiplier bootstrap of the rounds (Wu: Jackknife, bootstrap and other
    resampling methods in regression analysis, 1986): every round's deviation from the mean log is
    weighted by a normal number, and their sum studentised. For one series of n rounds that gives
    exactly the t interval with n − 1 degrees of freedom; to draw rounds with replacement would
    give, for three of them, at most the range, which holds the truth in 75% of cases.

    Equal names give equal weights to rounds of a number: what is measured in the same rounds is
    resampled together, and the machine's speed in a round cancels in a ratio. Different names are
    independent.
    """
    medians = {number: median(samples) for number, samples in rounds.items()}
    return median_draws(medians, name, value)


def median_draws(medians: Mapping[int, float], name: str, value: float | None = None) -> Draws:
    """Return the same of the medians of the rounds."""
    draws = np.exp(log_draws(medians, name, value))
    if value is not None or len(medians) == 1:
        draws[0] = next(iter(medians.values())) if value is None else value
    return draws


def log_draws(medians: Mapping[int, float], name: str, value: float | None = None) -> Draws:
    """Return the logarithms of the same."""
    return np.asarray(log_draws_of([(medians, value)], name)[0])


def log_draws_of(series: Sequence[tuple[Mapping[int, float], float | None]], name: str) -> Draws:
    """Return a row of the same for each of `series`, medians and a value, all under one name."""
    draws = np.empty((len(series), 1 + RESAMPLES))
    alike: dict[tuple[int, ...], list[int]] = {}
    for row, (medians, value) in enumerate(series):
        typical = math.fsum(map(math.log, medians.values())) / len(medians)
        draws[row, 0] = typical if value is None else math.log(value)
        alike.setdefault(tuple(medians), []).append(row)
    for rounds, rows in alike.items():
        if len(rounds) < LEAST_ROUNDS:
            draws[rows, 1:] = math.nan
            continue
        logs = np.log([list(series[row][0].values()) for row in rows])
        logs -= logs.mean(axis=1, keepdims=True)
        draws[rows, 1:] = logs @ _weights(name, rounds) + draws[rows, :1]
    return draws


def geometric_mean(draws: Sequence[Draws]) -> Draws:
    """Return the geometric mean, replica by replica, of at least one array of draws."""
    return np.asarray(np.exp(np.mean(np.log(np.stack(draws)), axis=0)))


def over_problems(draws: Sequence[Draws]) -> Draws:
    """Return the geometric mean over problems, which are resampled too.

    So the interval says what other problems of the kind would give. A problem measured in fewer
    than LEAST_ROUNDS counts with its value: its scatter is in that between problems. Fewer than
    LEAST_ROUNDS problems are not resampled.
    """
    if len(draws) < LEAST_ROUNDS:
        return geometric_mean(draws)
    logs = np.log(np.stack(draws))
    logs = np.where(np.isnan(logs), logs[:, :1], logs)
    count, columns = logs.shape
    chosen = np.random.default_rng(count).integers(count, size=(count, columns))
    chosen[:, 0] = np.arange(count)
    return np.asarray(np.exp(np.take_along_axis(logs, chosen, axis=0).mean(axis=0)))


@lru_cache(maxsize=64)
def _weights(name: str, rounds: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the weights (rounds, RESAMPLES) of rounds: a round's are those of its number."""
    n, seed = len(rounds), zlib.crc32(name.encode())
    # Two streams, each filled round by round: a round's part is the same however many follow.
    normal, other = (
        np.random.default_rng([seed, stream]).standard_normal((max(rounds) + 1, RESAMPLES))
        for stream in (0, 1)
    )
    spread = np.sqrt((other[list(rounds[1:])] ** 2).mean(axis=0))
    return np.asarray(normal[list(rounds)] / (spread * math.sqrt(n * (n - 1))))

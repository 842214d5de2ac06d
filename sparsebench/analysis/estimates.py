"""A number that was measured, and how far it can be trusted.

What differs between two measurements of the same thing differs between processes and between
minutes far more than between the calls of one process. So the unit that is resampled is the round:
one process's turn, of which the median counts. Samples within a round add to the scatter of these
medians, and are in it already; to resample them as well would count them twice.

Where such a number comes from one series of rounds, or from two of the same rounds, its interval
has a closed form, in `series`. Everything else is computed on draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
CONFIDENCE = 0.95
LEAST_ROUNDS = 3  # with fewer there is no interval

# A point value followed by RESAMPLES bootstrap replicas of it: NaN where there is no interval.
# Least times, geometric means and crossovers are computed on whole arrays of draws.
Draws = NDArray[np.float64]


@dataclass(frozen=True, init=False)
class Estimate:
    """A value with its 95% interval; an exact value has an interval of no width.

    The ends are NaN where fewer than LEAST_ROUNDS processes were measured: no comparison with them
    holds, so that nothing is decided by such a value.
    """

    value: float
    low: float
    high: float

    def __init__(self, value: float, low: float, high: float) -> None:
        # What a frozen dataclass does by itself takes twice as long, and there are a million.
        own = self.__dict__
        own["value"], own["low"], own["high"] = value, low, high

    @classmethod
    def exact(cls, value: float) -> Estimate:
        """Return a value that is counted, not sampled."""
        exact = float(value)
        return cls(exact, exact, exact)

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

    def times(self, exact: float) -> Estimate:
        """Return the estimate times an exact number above 0."""
        return Estimate(exact * self.value, exact * self.low, exact * self.high)

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
    # One after the other: NumPy finds one of them several times as fast as two at once. In place:
    # that copies once, not twice.
    ordered = np.array(replicas)
    ordered.partition(below, axis=-1)
    ordered[..., below + 1 :].partition(above - below - 1, axis=-1)
    return ordered[..., below], ordered[..., above]


def geometric_mean(draws: Sequence[Draws]) -> Draws:
    """Return the geometric mean, replica by replica, of at least one array of draws."""
    return np.asarray(np.exp(np.mean(np.log(np.stack(draws)), axis=0)))


def over_problems(draws: Sequence[Draws]) -> Draws:
    """Return the geometric mean over problems: see `OverProblems`."""
    mean = OverProblems(len(draws))
    for of_problem in draws:
        mean.add(np.log(of_problem))
    return mean.draws


class OverProblems:
    """The geometric mean over `count` problems, which are resampled too.

    So the interval says what other problems of the kind would give. A problem measured in fewer
    than LEAST_ROUNDS counts with its value: its scatter is in that between problems. Fewer than
    LEAST_ROUNDS problems are not resampled.

    Problems are added one after the other, so that of thousands one array is kept, not one each.
    """

    def __init__(self, count: int) -> None:
        self._count, self._added = count, 0
        self._sum = np.zeros(1 + RESAMPLES)
        self._drawn = _drawn(count) if count >= LEAST_ROUNDS else None

    def add(self, logs: Draws) -> None:
        """Add the logarithms of the draws of the next problem."""
        if self._drawn is None:
            self._sum += logs
        else:
            known = logs[0] if math.isnan(logs[-1]) else logs
            self._sum += self._drawn[self._added] * known
        self._added += 1

    @property
    def draws(self) -> Draws:
        """The mean of all, once they have been added."""
        return np.asarray(np.exp(self._sum / self._count))


@lru_cache(maxsize=2)
def _drawn(count: int) -> NDArray[np.uint16]:
    """Return how often each of `count` problems is in each replica; all once in the first column.

    Drawn with replacement.
    """
    columns = 1 + RESAMPLES
    chosen = np.random.default_rng(count).integers(count, size=(count, columns))
    chosen[:, 0] = np.arange(count)
    chosen += count * np.arange(columns)
    times = np.bincount(chosen.ravel(), minlength=count * columns)
    return np.ascontiguousarray(times.astype(np.uint16).reshape(columns, count).T)

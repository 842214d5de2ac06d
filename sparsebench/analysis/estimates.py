"""A number that was measured, and how far it can be trusted."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
CONFIDENCE = 0.95

# A point value followed by RESAMPLES bootstrap replicas of it. Ratios, geometric means and
# crossovers are computed on whole arrays of draws, so that every interval has the same source.
Draws = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval; an exact value has an interval of no width."""

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
        tail = (1.0 - CONFIDENCE) / 2
        # A quantile that is one of the replicas: interpolating between infinities is undefined.
        low, high = np.quantile(draws[1:], [tail, 1.0 - tail], method="inverted_cdf")
        return cls(float(draws[0]), float(min(low, draws[0])), float(max(high, draws[0])))


def median_draws(samples: Sequence[float], *, name: str) -> Draws:
    """Return the median of `samples` and bootstrap replicas of it.

    Replicas are drawn from the bootstrap distribution of the median itself: the k-th smallest of n
    uniform numbers follows Beta(k, n − k + 1), and the sample at that quantile is the k-th smallest
    of a resample. It costs the same for ten samples as for ten thousand. `name` seeds the draws:
    equal names give equal draws, different names independent ones.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    ordered, n = np.sort(np.asarray(samples, dtype=np.float64)), len(samples)
    middle = (n + 1) // 2
    lower = rng.beta(middle, n - middle + 1, RESAMPLES)
    upper = lower
    if n % 2 == 0:  # the median is the mean of the two samples in the middle
        upper = lower + (1.0 - lower) * rng.beta(1, n - middle, RESAMPLES)
    places = np.minimum(np.stack([lower, upper]) * n, n - 1).astype(np.int64)
    return np.concatenate([[np.median(ordered)], ordered[places].mean(axis=0)])


def geometric_mean(draws: Sequence[Draws]) -> Draws:
    """Return the geometric mean, replica by replica, of at least one array of draws."""
    return np.asarray(np.exp(np.mean(np.log(np.stack(draws)), axis=0)))

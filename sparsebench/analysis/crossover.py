"""From which sparsity on an implementation is faster than the dense layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sparsebench.analysis.estimates import Draws, Estimate
from sparsebench.analysis.metrics import speedup_logs
from sparsebench.analysis.once import once
from sparsebench.analysis.point import Point

ALWAYS, NEVER = -math.inf, math.inf
_ROUNDING = 1e-12  # of a logarithm: equal times are equal


@dataclass(frozen=True)
class Crossover:
    """The sparsity from which sparse pays, within the range that was measured.

    ALWAYS: faster at every measured sparsity; NEVER: not even at the highest. Either can be an end
    of the interval, too; where both are, nothing can be told.
    """

    sparsity: Estimate
    lowest: float
    highest: float

    @property
    def told(self) -> bool:
        """Whether the interval, if there is one, leaves out anything."""
        return not (self.sparsity.low == ALWAYS and self.sparsity.high == NEVER)


@once
def crossover(points: Sequence[Point]) -> Crossover | None:
    """Return the crossover of points that differ in nothing but their sparsity.

    It is the last place where the speed-up over dense rises through 1: above it, sparse is faster
    at every measured sparsity. Between two measured points the logarithm of the speed-up is taken
    as linear in the logarithm of the density: the time of a sparse product is close to a power of
    the density, and dense time does not depend on it. The interval is that of the same
    computation on bootstrap replicas; there is none where a speed-up has none. None where no
    speed-up is known that other work left alone.
    """
    sure = (p for p in points if not p.unsure)
    curve = [(p.case.sparsity, logs) for p in sure if (logs := speedup_logs(p)) is not None]
    return _crossover(curve) if curve else None


def crossover_of(curve: Sequence[tuple[float, Draws]]) -> Crossover:
    """Return the crossover of speed-ups, given as (sparsity, draws), at least one."""
    return _crossover([(sparsity, np.log(draws)) for sparsity, draws in curve])


def _crossover(curve: Sequence[tuple[float, Draws]]) -> Crossover:
    """Return the same of their logarithms."""
    curve = sorted(curve, key=lambda place: place[0])
    sparsities = np.array([sparsity for sparsity, _ in curve])
    speedups = np.stack([logs for _, logs in curve])
    crossings = _last_rise(sparsities, speedups)
    crossings[np.isnan(speedups).any(axis=0)] = np.nan
    return Crossover(Estimate.of(crossings), float(sparsities[0]), float(sparsities[-1]))


def _last_rise(sparsities: Draws, speedups: Draws) -> Draws:
    """Return, for each replica, where log speed-ups (sparsities, replicas) last rise through 0."""
    count, replicas = speedups.shape
    slower = speedups <= _ROUNDING
    last = np.where(slower.any(axis=0), count - 1 - slower[::-1].argmax(axis=0), -1)
    left = np.clip(last, 0, max(count - 2, 0))
    right, each = np.minimum(left + 1, count - 1), np.arange(replicas)
    below, above = speedups[left, each], speedups[right, each]
    log_density = np.log(1.0 - sparsities)
    inside = (last >= 0) & (last < count - 1)
    share = np.divide(-below, above - below, out=np.zeros(replicas), where=inside)
    density = np.exp(log_density[left] + share * (log_density[right] - log_density[left]))
    return np.where(inside, 1.0 - density, np.where(last < 0, ALWAYS, NEVER))

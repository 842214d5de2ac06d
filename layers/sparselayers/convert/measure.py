"""Two ways to do the same, timed side by side until it is clear which is faster."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from sparselayers import accelerator

LEAST, MOST = 7, 60  # samples of each
SAMPLE_S = 2e-3  # calls that are shorter are timed several at once
# How long it is called before a warm sample. 16 MB of dense weights that something else has pushed
# out of the L3 cache are back in it after eight calls of nn.Linear: 0.86, 0.75, … 0.3, 0.29 ms.
WARM_S = 8e-3


@dataclass(frozen=True)
class Times:
    """Seconds a call, medians of interleaved samples, and the interval of the second's share.

    `ratio` is second / first, `low` and `high` delimit it with 95% confidence.
    """

    first: float
    second: float
    low: float
    high: float
    samples: int

    @property
    def ratio(self) -> float:
        """How long the second takes relative to the first."""
        return self.second / self.first


def compare(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    device: torch.device,
    seconds: float,
    warm: bool = False,
) -> Times:
    """Time both in turn, after warming up, until one is surely faster or `seconds` are over.

    Caches are as the other one leaves them, as in a model of many layers; with `warm` each sample
    follows calls of its own, as in a benchmark of one layer. At least LEAST samples of each are
    taken, however long that is, and at most MOST. The interval is that of the median of the ratios
    of samples taken one after the other, by order statistics.
    """
    calls, before = [], []
    for step in (first, second):
        step()
        once = max(_sample(step, 1, device), 1e-9)
        calls.append(max(1, round(SAMPLE_S / once)))
        before.append(max(1, round(WARM_S / once)))
        _sample(step, calls[-1], device)
    samples: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while True:
        pair = []
        for step, count, untimed in zip((first, second), calls, before, strict=True):
            if warm:
                _sample(step, untimed, device)
            pair.append(_sample(step, count, device))
        samples.append((pair[0], pair[1]))
        low, high = _interval([b / a for a, b in samples])
        sure = len(samples) >= LEAST and not low <= 1.0 <= high
        if sure or len(samples) >= (MOST if time.perf_counter() < end else LEAST):
            break
    medians = [statistics.median(series) for series in zip(*samples, strict=True)]
    return Times(medians[0], medians[1], low, high, len(samples))


def _sample(step: Callable[[], object], calls: int, device: torch.device) -> float:
    """The mean time of `calls` calls."""
    accelerator.synchronize(device)
    begin = time.perf_counter()
    for _ in range(calls):
        step()
    accelerator.synchronize(device)
    return (time.perf_counter() - begin) / calls


def _interval(ratios: list[float]) -> tuple[float, float]:
    """The 95% interval of the median: the order statistics n/2 ∓ 0.98 √n (normal approximation)."""
    ordered, n = sorted(ratios), len(ratios)
    below = math.floor(n / 2 - 0.98 * n**0.5)
    if below < 0:
        return 0.0, float("inf")
    return ordered[below], ordered[n - 1 - below]

"""Two ways to do the same, timed side by side until it is clear which is faster."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import torch

from sparselayers import accelerator
from sparselayers.cores import Watch

LEAST, MOST = 7, 60  # samples of each
# Between the quartiles of one's samples, over their median: beyond, something else had the cores.
SCATTER = 0.5
SPOILED = 0.5  # of one's samples, that wanted a core which other work had: beyond, medians are too
TAKES = 3  # of times that stay disturbed
# Before a take that follows a disturbed one, of the seconds that there are for it: what disturbs
# comes and goes.
_PAUSE, _LONGEST_S = 0.1, 1.0

SAMPLE_S = 2e-3  # calls that are shorter are timed several at once
# How long it is called before a warm sample. 16 MB of dense weights that something else has pushed
# out of the L3 cache are back in it after eight calls of nn.Linear: 0.86, 0.75, … 0.3, 0.29 ms.
WARM_S = 8e-3

T = TypeVar("T")


@dataclass(frozen=True)
class Times:
    """Seconds a call, medians of interleaved samples, and the interval of the second's share.

    `ratio` is second / first, `low` and `high` delimit it with 95% confidence. `scatter` is the
    distance between the quartiles of one's samples over their median, the larger of both; `spoiled`
    the share of one's samples in which other work had a core that they wanted, the larger of both.
    """

    first: float
    second: float
    low: float
    high: float
    samples: int
    scatter: float = 0.0
    spoiled: float = 0.0

    @property
    def ratio(self) -> float:
        """How long the second takes relative to the first."""
        return self.second / self.first

    @property
    def disturbed(self) -> bool:
        """Whether other programs had the cores meanwhile, as the kernel or the scatter tells."""
        return self.spoiled > SPOILED or self.scatter > SCATTER


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
    spoiled = [0, 0]
    end = time.perf_counter() + seconds
    with closing(Watch()) as watch:
        while True:
            pair = []
            for which, (step, count, untimed) in enumerate(
                zip((first, second), calls, before, strict=True)
            ):
                if warm:
                    _sample(step, untimed, device)
                watch.begin()
                pair.append(_sample(step, count, device))
                spoiled[which] += watch.end(count * pair[-1]).spoiled
            samples.append((pair[0], pair[1]))
            low, high = _interval([b / a for a, b in samples])
            sure = len(samples) >= LEAST and not low <= 1.0 <= high
            if sure or len(samples) >= (MOST if time.perf_counter() < end else LEAST):
                break
    both = list(zip(*samples, strict=True))
    medians = [statistics.median(series) for series in both]
    return Times(
        medians[0],
        medians[1],
        low,
        high,
        len(samples),
        scatter=max(map(_scatter, both)),
        spoiled=max(spoiled) / len(samples),
    )


def again(
    first: Sequence[T], take: Callable[[int], T], of: Callable[[T], Times], *, seconds: float
) -> list[T]:
    """Return what was measured first, and better where its times were disturbed.

    These are taken again with `take`, by their places, in passes over all of them: each up to
    TAKES − 1 times, while `seconds` for each last. `of` says what the times of a measurement are.
    Better are those that had their cores, then those that scatter less: what comes out plays no
    part.
    """
    best = list(first)
    bad = [place for place, one in enumerate(first) if of(one).disturbed]
    allowed = seconds * len(bad)
    end = time.perf_counter() + allowed
    for _ in range(TAKES - 1):
        if bad and allowed:
            time.sleep(min(_PAUSE * seconds, _LONGEST_S))
        for place in bad:
            if time.perf_counter() >= end:
                return best
            best[place] = min(best[place], take(place), key=lambda one: _unrest(of(one)))
        bad = [place for place in bad if of(best[place]).disturbed]
    return best


def _unrest(times: Times) -> tuple[bool, float]:
    """Return by what the calmer times are the lesser."""
    return times.spoiled > SPOILED, times.scatter


def _sample(step: Callable[[], object], calls: int, device: torch.device) -> float:
    """The mean time of `calls` calls."""
    accelerator.synchronize(device)
    begin = time.perf_counter()
    for _ in range(calls):
        step()
    accelerator.synchronize(device)
    return (time.perf_counter() - begin) / calls


def _scatter(samples: Sequence[float]) -> float:
    lower, middle, upper = statistics.quantiles(samples, n=4, method="inclusive")
    return (upper - lower) / middle


def _interval(ratios: list[float]) -> tuple[float, float]:
    """The 95% interval of the median: the order statistics n/2 ∓ 0.98 √n (normal approximation)."""
    ordered, n = sorted(ratios), len(ratios)
    below = math.floor(n / 2 - 0.98 * n**0.5)
    if below < 0:
        return 0.0, float("inf")
    return ordered[below], ordered[n - 1 - below]

"""How a time is taken, and nothing else.

On a CPU blocks of calls are timed with `timeit.Timer`, which is also what
`torch.utils.benchmark.Timer` wraps. That one is not used because of its calibration: it wants the
clock to cost less than 1/10,000 of a block, and tries blocks in powers of ten. For 30 ms of samples
of a call that takes 10 ms it calls 21 times and returns one sample, the mean of ten calls; here it
is 5 calls for three samples. A sweep of hundreds of cases takes half the time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from timeit import Timer
from typing import TypeVar

import torch

from sparsebench.measuring import gpu
from sparsebench.measuring.gpu import Meters
from sparselayers.cores import Strain, Watch

K = TypeVar("K")

SAMPLE_S = 5e-3  # calls shorter than this are timed several at once
LEAST_SAMPLES = 3  # of a round, unless calls are slow
SLOW_S = 2.0  # a call that takes longer is timed once
MOST_SAMPLES = 200  # of each series on a GPU


@dataclass(frozen=True)
class Times:
    """Raw samples: seconds per call, in the order they were taken.

    On a GPU `samples` are the device's own times with its L2 cache cleared, `hot` those with the
    cache as the call before left it, and `wall` are times from end to end; both empty on a CPU.
    `calls` are all that were made on a CPU, to warm up too; `strains` what happened during each
    sample there.
    """

    samples: list[float] = field(default_factory=list)
    calls_per_sample: int = 0
    hot: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    calls: int = 0
    strains: list[Strain] = field(default_factory=list)


def measure(
    step: Callable[[], object],
    *,
    device: str,
    threads: int,
    seconds: float,
    calls: int | None = None,
) -> Times:
    """Time `step` for about `seconds`, with `threads` CPU threads.

    On a CPU a sample is the mean of `calls` calls, as many as take SAMPLE_S by default, with
    caches as the calls leave them: warm, as in a training loop. On a GPU there are three series,
    each of about `seconds`: the device's own times of single calls with the L2 cache cold, the
    same with it hot, and wall times of calls up to the synchronisation.
    """
    torch.set_num_threads(threads)
    if device != "cpu":
        return _measure_gpu(step, gpu.of(torch.device(device)), seconds)
    timer = _Counted(step)
    least = LEAST_SAMPLES
    if timer.timeit(1) > SLOW_S:
        calls, least, seconds = 1, 1, 0.0
    else:
        calls = _warmed_up(timer, calls)
    samples: list[float] = []
    strains: list[Strain] = []
    end = time.perf_counter() + seconds
    with closing(Watch()) as watch:
        while len(samples) < least or time.perf_counter() < end:
            watch.begin()
            taken = timer.timeit(calls)
            strains.append(watch.end(taken))
            samples.append(_round(taken / calls))
    return Times(samples, calls, calls=timer.calls, strains=strains)


def measure_cold(
    steps: Sequence[Callable[[], object]],
    *,
    threads: int,
    seconds: float,
    evict: Callable[[], object],
) -> Times:
    """Time a turn of `steps` on this CPU, each once, for about `seconds`; `evict` before each turn.

    A sample is the mean of a turn. `calls` counts the turns: how often each step was called.
    """
    torch.set_num_threads(threads)

    def turn() -> None:
        for step in steps:
            step()

    timer = _Counted(turn)
    least = LEAST_SAMPLES if timer.timeit(1) < SLOW_S else 1
    samples: list[float] = []
    strains: list[Strain] = []
    end = time.perf_counter() + seconds
    with closing(Watch()) as watch:
        while len(samples) < least or time.perf_counter() < end:
            evict()
            watch.begin()
            taken = timer.timeit(1)
            strains.append(watch.end(taken))
            samples.append(_round(taken / len(steps)))
    return Times(samples, len(steps), calls=timer.calls, strains=strains)


class _Counted(Timer):
    """A timer that knows how many calls it made."""

    calls = 0

    def timeit(self, number: int = 1) -> float:
        """Time `number` calls."""
        self.calls += number
        return super().timeit(number)


def in_turns(
    steps: Mapping[K, Callable[[], object]], *, rounds: int, seconds: float
) -> dict[K, Times]:
    """Return `rounds` samples of each of `steps` on this CPU, each of about `seconds`.

    Every round takes one sample of each, so that what disturbs a moment is shared; caches are as
    the step before leaves them. A sample is the mean of as many calls as fill it, warmed up first.
    """
    timers = {name: Timer(step) for name, step in steps.items()}
    calls = {name: _warmed_up(timer, None, seconds) for name, timer in timers.items()}
    found = {name: Times(calls_per_sample=calls[name]) for name in steps}
    with closing(Watch()) as watch:
        for _ in range(rounds):
            for name, timer in timers.items():
                watch.begin()
                taken = timer.timeit(calls[name])
                found[name].strains.append(watch.end(taken))
                found[name].samples.append(_round(taken / calls[name]))
    return found


def single_calls(
    steps: Mapping[K, Callable[[], object]], *, seconds: float, least: int = 5
) -> dict[K, list[float]]:
    """Return the seconds of single calls of each of `steps`, in turns until `seconds` are over.

    Each has at least `least` of them, however long they take. All are called once before.
    """
    for step in steps.values():
        step()
    times: dict[K, list[float]] = {name: [] for name in steps}
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < least or time.perf_counter() < end:
        for name, step in steps.items():
            times[name].append(_seconds(step))
        rounds += 1
    return times


def _warmed_up(timer: Timer, calls: int | None, seconds: float = SAMPLE_S) -> int:
    """Call for as long as a sample takes; return how many calls these are."""
    if calls:
        timer.timeit(calls)
        return calls
    calls = 1
    while (spent := max(timer.timeit(calls), 1e-9)) < seconds:
        calls = math.ceil(calls * min(10.0, 1.2 * seconds / spent))
    return max(1, math.ceil(calls * seconds / spent))


def _measure_gpu(step: Callable[[], object], meters: Meters, seconds: float) -> Times:
    def synchronised() -> None:
        step()
        meters.synchronize()

    for _ in range(3):  # the last one counts: the first may compile and try tiles
        once = _seconds(synchronised)
    count = 1
    if once < SLOW_S:
        count = min(MOST_SAMPLES, max(LEAST_SAMPLES, math.ceil(seconds / once)))
    cold, hot = (meters.seconds(step, count, cold=cold) for cold in (True, False))
    wall = [_seconds(synchronised) for _ in range(count)]
    return Times(_rounded(cold), 1, _rounded(hot), _rounded(wall))


def _seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return max(time.perf_counter() - start, 1e-7)


def _round(seconds: float) -> float:
    """Keep five digits: more than any clock here resolves, and records stay small."""
    return float(f"{seconds:.5g}")


def _rounded(samples: list[float]) -> list[float]:
    return [_round(sample) for sample in samples]

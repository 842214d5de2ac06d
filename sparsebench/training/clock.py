"""How long a training takes, epoch by epoch: as it was timed, or made up of steps that were."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from sparsebench.training.annealing import gets_sparser
from sparsebench.training.records import Timing, TrainingRecord
from sparsebench.training.rewiring import Rewired
from sparsebench.training.settings import Setting


def after_epochs(setting: Setting, timed: Sequence[TrainingRecord]) -> list[float] | None:
    """Return the seconds after each epoch, tests not counted; None where they were not measured.

    Epochs take the median of all `timed`, but where a network gets sparser meanwhile: there each
    takes its own time, the mean of the records that know it. Rewirings that were timed by
    themselves come on top, when they are due.
    """
    timings = [run.timing for run in timed if run.timing is not None]
    if not gets_sparser(setting):
        samples = [s / t.steps * t.steps_per_epoch for t in timings for s in t.samples]
        if not samples:
            return None
        each = statistics.median(samples)
        clock = [each * number for number in range(1, setting.epochs + 1)]
    else:
        clocks = [own for run in timed if (own := _own(run, setting.epochs))]
        if not clocks:
            return None
        clock = [statistics.fmean(each) for each in zip(*clocks, strict=True)]
    return [sum(both) for both in zip(clock, _rewirings(setting, timings), strict=True)]


def _own(run: TrainingRecord, epochs: int) -> list[float] | None:
    """Return the seconds after each epoch of a network that gets sparser; None if not known."""
    timing = run.timing
    if timing is not None and timing.by_part:
        parts = len(timing.samples)
        steps = timing.steps_per_epoch * epochs / parts
        ends = accumulate((s / timing.steps * steps for s in timing.samples), initial=0.0)
        shares = np.linspace(0.0, 1.0, parts + 1)
        after = np.interp(np.arange(1, epochs + 1) / epochs, shares, list(ends))
        return [float(each) for each in after]
    seconds = [epoch.seconds for epoch in run.epochs if epoch.seconds is not None]
    return list(accumulate(seconds)) if len(seconds) == epochs else None


def _rewirings(setting: Setting, timings: Sequence[Timing]) -> list[float]:
    """Return what rewirings that no sample holds have taken after each epoch."""
    costs = [cost for timing in timings for cost in timing.rewirings]
    if not costs:
        return [0.0] * setting.epochs
    assert isinstance(setting, Rewired)
    each, steps = statistics.median(costs), timings[0].steps_per_epoch
    last = setting.stop_after - 1
    return [
        each * (min(number * steps, last) // setting.update_every)
        for number in range(1, setting.epochs + 1)
    ]

"""Pace: when an epoch ends and how far a run has come, by its steps or by seconds of training."""

from __future__ import annotations

import time

from sparsebench.training.settings import GPTSetting, Setting
from sparselayers import accelerator

clock = time.perf_counter


class Pace:
    """Of a run with `steps` in an epoch, unless its setting has a time of its own."""

    def __init__(self, setting: Setting, steps: int) -> None:
        self.setting, self.steps = setting, steps
        self.budget = setting.seconds if isinstance(setting, GPTSetting) else 0.0

    def begin(self, number: int, spent: float) -> None:
        """Begin epoch `number`, counted from 0, after `spent` seconds of training."""
        self._number, self._spent, self._start = number, spent, clock()

    @property
    def seconds(self) -> float:
        """The seconds since the epoch has begun."""
        return clock() - self._start

    def progress(self, step: int) -> float:
        """Return which share of the run is done after `step` steps of the epoch."""
        if self.budget:
            return min(1.0, (self._spent + self.seconds) / self.budget)
        return (self._number * self.steps + step) / (self.setting.epochs * self.steps)

    def over(self, step: int) -> bool:
        """Return whether the epoch ends after `step` steps; each has one at least."""
        if not self.budget:
            return step >= self.steps
        accelerator.synchronize(self.setting.device)
        until = self.budget * (self._number + 1) / self.setting.epochs
        return self._spent + self.seconds >= until

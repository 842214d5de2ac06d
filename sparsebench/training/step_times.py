"""How long training steps take, measured by themselves: for machines that are not always quiet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import Any

from torch import Tensor

from sparsebench.measuring import gpu, machine, memory
from sparsebench.training.annealing import last_change, schedule_of
from sparsebench.training.batches import batches, samples, steps_per_epoch
from sparsebench.training.datasets import Data
from sparsebench.training.loop import failure, sizes
from sparsebench.training.peak import peak_of
from sparsebench.training.records import Status, Timing, TrainingRecord, TrainingStore
from sparsebench.training.rewiring import Rewired
from sparsebench.training.run import data_of
from sparsebench.training.settings import CifarSetting, Setting
from sparsebench.training.state import Progressing
from sparsebench.training.warm_up import warm_up
from sparselayers import accelerator

TURNS = 10  # the steps to time are spread over so many turns of every setting
_REWIRED = 3  # after every third turn
WARM_UP = 3  # the first steps also load code and find their memory, and what is pruned its plans


@dataclass
class _Timed:
    """A network that trains in turn with others, and what its turns took."""

    progress: Progressing
    data: Data  # what it trains on, of all that there is
    batches: Iterator[tuple[Tensor, Tensor]]
    peak: int | None = None
    method: str = ""
    samples: list[float] = field(default_factory=list)
    rewirings: list[float] = field(default_factory=list)

    def advance(self, steps: int) -> float:
        """Take `steps` steps and return their seconds."""
        start = time.perf_counter()
        for images, labels in islice(self.batches, steps):
            self.progress.step(images, labels)
        accelerator.synchronize(self.progress.setting.device)
        return time.perf_counter() - start

    def rewire(self, usual: float) -> None:
        """Time a step that rewires, where the setting ever does; a `usual` one takes so long."""
        setting, rewirer = self.progress.setting, self.progress.rewirer
        assert isinstance(setting, Rewired)
        state = rewirer.state_dict()
        due = -(-(state["steps"] + 2) // setting.update_every) * setting.update_every
        if due >= setting.stop_after:
            return
        rewirer.load_state_dict(state | {"steps": due - 2})
        self.advance(1)  # what a rule has to see of the step before
        self.rewirings.append(max(0.0, self.advance(1) - usual))
        self.advance(WARM_UP)

    def move(self, step: int) -> None:
        """Prune a network that gets sparser to what it would be at `step` of its training."""
        schedule = schedule_of(self.progress.setting)
        if schedule is None or not (change := last_change(schedule, step)):
            return
        rewirer = self.progress.rewirer
        rewirer.load_state_dict(rewirer.state_dict() | {"steps": change - 1})
        self.advance(WARM_UP)


def time_steps(
    settings: list[Setting], data: Data, folder: Path, *, steps: int | None = None
) -> list[TrainingRecord]:
    """Time `steps` training steps of every setting (an epoch by default), and record them.

    The settings take turns, so that whatever slows the machine slows them all. Rewiring takes
    place where it falls within the steps; where it need not in a turn, it is timed by itself after
    some of them. A network that gets sparser takes each of its turns as
    sparse as it is in the middle of that part of its training. Nothing is learned about accuracy.
    A setting that fails is recorded with the reason.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    epoch = steps_per_epoch(data_of(settings[0], data), settings[0])
    turn = max(1, (steps or epoch) // TURNS)
    under_way: dict[Setting, _Timed] = {}
    failed: dict[Setting, tuple[Status, str]] = {}
    for turn_number in range(TURNS + 1):  # the first warms up
        for setting in settings:
            if setting in failed:
                continue
            try:
                if turn_number == 0:
                    under_way[setting] = _begin(setting, data)
                else:
                    timed = under_way[setting]
                    timed.move(_middle(turn_number, setting, timed.data))
                    timed.samples.append(timed.advance(turn))
                    if turn_number % _REWIRED == 0 and _rarely_rewired(setting, turn):
                        timed.rewire(timed.samples[-1] / turn)
            except Exception as error:  # whatever it is, it costs this setting alone
                # Not the error itself: it would keep the network alive, in the frames it came by.
                failed[setting] = failure(error)
                under_way.pop(setting, None)
            if setting in failed:
                gpu.release(setting.device)
    with TrainingStore(folder) as records:
        made = [
            _record(setting, under_way.get(setting), failed.get(setting), turn, data, started)
            for setting in settings
        ]
        for record in made:
            records.append(record)
    return made


def _rarely_rewired(setting: Setting, turn: int) -> bool:
    """Whether a turn of so many steps may be without a rewiring."""
    assert isinstance(setting, Rewired)
    return setting.rewiring != "none" and setting.update_every > turn


def _middle(turn: int, setting: Setting, data: Data) -> int:
    """Return the step in the middle of the part of the training that `turn`, from 1, is for."""
    steps = setting.epochs * steps_per_epoch(data, setting)
    return round((turn - 0.5) / TURNS * steps)


def _begin(setting: Setting, data: Data) -> _Timed:
    own = data_of(setting, data)
    endless = (batch for epoch in count() for batch in batches(own, setting, epoch))
    if isinstance(setting, CifarSetting):
        return _begin_large(setting, own, endless)
    made: list[_Timed] = []

    def begin() -> None:
        made.append(_Timed(Progressing.start(setting, samples=samples(own)), own, endless))
        made[0].advance(WARM_UP)

    warm_up(setting)
    if setting.device == "cpu":
        peak, method = peak_of(setting, own)
        begin()
        return replace(made[0], peak=peak, method=method)
    peak, method = memory.peak(begin, setting.device, alone=False)
    return replace(made[0], peak=peak, method=f"{method} of building and {WARM_UP} steps")


def _begin_large(setting: Setting, data: Data, endless: Iterator[tuple[Tensor, Tensor]]) -> _Timed:
    """Start a network whose building takes more memory than its training: that does not count.

    Its weights are those that it is drawn with, pruned, and not trained ones.
    """
    warm_up(setting)
    before = memory.held(setting.device)
    timed = _Timed(Progressing.start(setting), data, endless)
    built = memory.held(setting.device) - before
    peak, method = memory.peak(lambda: timed.advance(WARM_UP), setting.device)
    return replace(timed, peak=built + peak, method=f"{method} of {WARM_UP} steps, and the network")


def _record(
    setting: Setting,
    timed: _Timed | None,
    failed: tuple[Status, str] | None,
    turn: int,
    data: Data,
    started: str,
) -> TrainingRecord:
    common: dict[str, Any] = {
        "setting": setting,
        "purpose": "time",
        "note": data.note,
        "started": started,
        "machine": machine.fingerprint(),
    }
    if timed is None:
        assert failed is not None
        status, message = failed
        return TrainingRecord(**common, status=status, message=message)
    by_part = schedule_of(setting) is not None
    sparse = ", each as sparse as in the middle of its part of the training" if by_part else ""
    timing = Timing(
        steps=turn,
        samples=timed.samples,
        steps_per_epoch=steps_per_epoch(timed.data, setting),
        method=f"wall clock of {TURNS} turns of {turn} steps, rows in turn{sparse}",
        by_part=by_part,
        rewirings=timed.rewirings,
    )
    return TrainingRecord(
        **common,
        timing=timing,
        peak_memory=timed.peak,
        memory_method=timed.method,
        layers=timed.progress.layers,
        **sizes(timed.progress.network, timed.data),
    )

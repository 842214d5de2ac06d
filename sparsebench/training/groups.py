"""Training records put together: the runs of one setting over its seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sparsebench.analysis.machines import machine_names
from sparsebench.training.clock import after_epochs
from sparsebench.training.records import TrainingRecord
from sparsebench.training.settings import CifarSetting, MLPSetting, Setting


@dataclass(frozen=True)
class Group:
    """All runs of one setting on one machine, whatever their seeds and numbers of threads.

    `machine` is its name as tables say it. `timed` are the records that say how long a step takes:
    those of a pass that only timed, or else the runs themselves.
    """

    setting: Setting
    machine: str
    runs: Sequence[TrainingRecord]
    timed: Sequence[TrainingRecord]

    @property
    def finished(self) -> list[TrainingRecord]:
        """The runs that reached their last epoch."""
        return [run for run in self.runs if run.status == "ok"]

    @property
    def failed(self) -> dict[str, int]:
        """How many runs ended otherwise, by status."""
        statuses = [run.status for run in self.runs if run.status != "ok"]
        return {status: statuses.count(status) for status in dict.fromkeys(statuses)}

    def accuracies(self, epochs: Sequence[int] | None = None) -> list[float]:
        """Return each finished run's accuracy in percent, the mean of `epochs` (the last one)."""
        chosen = epochs or [self.setting.epochs]
        return [
            100 * statistics.fmean(run.epochs[epoch - 1].accuracy for epoch in chosen)
            for run in self.finished
        ]

    @property
    def seconds_per_epoch(self) -> float | None:
        """The mean over all epochs of training alone; None where it was not measured."""
        return None if self.clock is None else self.clock[-1] / self.setting.epochs

    @property
    def clock(self) -> list[float] | None:
        """The seconds after each epoch, tests not counted; None where they were not measured."""
        return after_epochs(self.setting, self.timed)

    @property
    def seconds(self) -> float | None:
        """How long all epochs train, tests not counted; None where it was not measured."""
        return None if self.clock is None else self.clock[-1]

    @property
    def curve(self) -> list[float]:
        """The accuracy in percent after each epoch, the mean of the runs that finished."""
        curves = ([100 * epoch.accuracy for epoch in run.epochs] for run in self.finished)
        return [statistics.fmean(each) for each in zip(*curves, strict=True)]

    @property
    def by_seed(self) -> dict[int, float]:
        """The last accuracy in percent of each run that finished, by its seed."""
        return {run.setting.seed: 100 * run.epochs[-1].accuracy for run in self.finished}

    @property
    def threads(self) -> list[int]:
        """The numbers of threads that the times were taken with."""
        return sorted({run.setting.threads for run in self.timed if run.timing is not None})

    @property
    def peak_memory(self) -> int | None:
        """The highest peak of a run in bytes, above the process before the network was built.

        Of those that were timed, if they tell: as the times, by the program that there is now.
        """
        told = (
            [r.peak_memory for r in runs if r.peak_memory is not None]
            for runs in (self.timed, self.runs)
        )
        return next((max(peaks) for peaks in told if peaks), None)


def groups(records: Sequence[TrainingRecord]) -> list[Group]:
    """Return the groups of `records`, trained ones in the order they came, then only timed ones."""
    names = machine_names(record.machine for record in records)
    runs: dict[tuple[str, Setting], list[TrainingRecord]] = {}
    timings: dict[tuple[str, Setting], list[TrainingRecord]] = {}
    for record in records:
        key = names[str(record.machine.get("id", ""))], _shared(record.setting)
        if record.purpose == "time":
            timings.setdefault(_of_any_length(key), []).append(record)
        else:
            runs.setdefault(key, []).append(record)
    trained = [
        Group(key[1], key[0], members, timings.get(_of_any_length(key), members))
        for key, members in runs.items()
    ]
    known = {_of_any_length(key) for key in runs}
    only_timed = [
        Group(_shared(members[0].setting), key[0], (), members)
        for key, members in timings.items()
        if key not in known
    ]
    return [*trained, *only_timed]


def across_machines(every: Sequence[Group]) -> list[Group]:
    """Return groups of equal settings as one: machines differ in their times, and in rounding.

    Times are those of one machine for all: of that on which most settings were timed.
    """
    timed = [group.machine for group in every if group.seconds_per_epoch is not None]
    machine = max(dict.fromkeys(timed), key=timed.count, default="")
    together: dict[Setting, list[Group]] = {}
    for group in every:
        together.setdefault(group.setting, []).append(group)
    return [
        Group(
            setting,
            machine or same[0].machine,
            [run for group in same for run in group.runs],
            [run for group in same for run in group.timed if group.machine == machine],
        )
        for setting, same in together.items()
    ]


def dataset_of(setting: Setting) -> str:
    """Return the dataset as file names say it, with how much of it was trained on."""
    whole = setting.dataset.partition("-first")[0]  # of which more may be at hand than is used
    return f"{whole}-first{setting.images}" if setting.images else setting.dataset


def alike(every: Sequence[Group]) -> list[list[Group]]:
    """Return the groups apart by what makes accuracies incomparable, in order.

    That is the data, how long they were trained on, and how many images were held out for the test.
    """
    apart: dict[tuple[str, int, int], list[Group]] = {}
    for group in every:
        setting = group.setting
        kind = setting.dataset, setting.epochs, setting.held_out
        apart.setdefault(kind, []).append(group)
    return [apart[kind] for kind in sorted(apart)]


def kind_name(setting: Setting) -> str:
    """Return what `alike` tells apart as file names say it."""
    held_out = f"-validation-{setting.held_out}" if setting.held_out else ""
    return f"{setting.dataset}-{setting.epochs}-epochs{held_out}"


def best_dense(every: Sequence[Group]) -> Group | None:
    """Return the dense groups' most accurate one, of those that finished; None without any."""
    dense = [group for group in every if group.setting.model == "dense" and group.finished]
    return max(dense, key=lambda group: statistics.fmean(group.accuracies()), default=None)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean, and the sample standard deviation where there are two values or more."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def spread(values: Sequence[float]) -> str:
    """Return `mean ± standard deviation` with two digits; empty where there is no value."""
    if not values:
        return ""
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"


def _shared(setting: Setting) -> Setting:
    """The setting without what differs between the runs of a group."""
    return replace(setting, seed=0, threads=1)


def _of_any_length(key: tuple[str, Setting]) -> tuple[str, Setting]:
    """What a time is found by: how many epochs a run has does not change its steps.

    Neither does when it is rewired for the last time, which a shorter run is sooner.
    """
    shared = replace(key[1], epochs=1)
    if isinstance(shared, MLPSetting | CifarSetting):
        return key[0], replace(shared, stop_after=1)
    return key[0], shared

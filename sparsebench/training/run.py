"""Run many settings one after another: what has a record is skipped, what fails is recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from sparsebench.measuring import gpu, machine
from sparsebench.training import checkpoint
from sparsebench.training.cifar import schedule
from sparsebench.training.datasets import Data, Text
from sparsebench.training.loop import Show, train
from sparsebench.training.processes import ALONE, Processes
from sparsebench.training.records import FILE_NAME, TrainingRecord, TrainingStore, load
from sparsebench.training.settings import CifarSetting, Setting


def over_seeds(settings: Iterable[Setting], seeds: Iterable[int]) -> list[Setting]:
    """Return every setting with every seed, all settings of one seed before the next seed's."""
    settings = list(settings)
    return [replace(setting, seed=seed) for seed in seeds for setting in settings]


def pending(
    settings: Iterable[Setting], folder: Path, *, retry_failed: bool = False
) -> list[Setting]:
    """Return the settings without a record of this machine in `folder`, or with a failed one.

    The latter only if `retry_failed` says so.
    """
    mine = machine.fingerprint()["id"]
    done = {
        record.setting
        for record in load(folder / FILE_NAME)
        if record.purpose == "accuracy"
        and record.machine.get("id") == mine
        and (record.status == "ok" or not retry_failed)
    }
    return [setting for setting in settings if setting not in done]


def with_starts(
    pending: Sequence[Setting], settings: Sequence[Setting], folder: Path
) -> list[Setting]:
    """Return `pending`, with those of `settings` before them that they start from.

    A network that others start from is trained again where its file is gone, record or not.
    """
    wanted = {
        schedule.trained_path(folder, setting)
        for setting in pending
        if isinstance(setting, CifarSetting)
        and setting.start
        and not schedule.trained_path(folder, setting).exists()
    }
    chosen = set(pending) | {
        setting
        for setting in settings
        if isinstance(setting, CifarSetting)
        and setting.pruning == "none"
        and schedule.trained_path(folder, setting) in wanted
    }
    return [setting for setting in settings if setting in chosen]


def drop(settings: Iterable[Setting], folder: Path) -> None:
    """Remove this machine's records of `settings`; the file as it was stays beside."""
    machine_id = str(machine.fingerprint()["id"])
    if (folder / FILE_NAME).exists():
        with TrainingStore(folder) as records:
            records.drop({(f"accuracy {setting.key}", machine_id) for setting in settings})


def run(
    settings: Iterable[Setting],
    data: Data,
    folder: Path,
    show: AbstractContextManager[Show],
    *,
    timed: bool = True,
    processes: Processes = ALONE,
) -> Iterator[TrainingRecord]:
    """Train `settings` in turn; append each record to `folder`, then yield it.

    Of several processes the first is the only one that writes. Raises StoreError where records
    cannot be written, CheckpointError for a broken checkpoint.
    """
    with TrainingStore(folder) if processes.first else nullcontext() as records, show as shown:
        for setting in settings:
            chosen = data_of(setting, data)
            record = train(setting, chosen, shown, folder=folder, timed=timed, processes=processes)
            if record.status != "ok":
                gpu.release(setting.device)  # the next one is to find all memory free
            if records is not None:
                records.append(record)
                checkpoint.remove(checkpoint.path_of(folder, setting))
            yield record


def data_of(setting: Setting, data: Data) -> Data:
    """Return the data that `setting` trains and tests on, on its device."""
    chosen: Data = data
    if not isinstance(data, Text):
        images = data.hold_out(setting.held_out) if setting.held_out else data
        chosen = images.first(setting.images) if setting.images else images
    return chosen if setting.device == "cpu" else chosen.to(setting.device)

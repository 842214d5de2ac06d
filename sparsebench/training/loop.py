"""Train one setting: epochs over data in memory, a checkpoint after each, a record at the end."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sparsebench.measuring import gpu, machine, memory
from sparsebench.training import checkpoint, topology, weights
from sparsebench.training.batches import batches, samples, steps_per_epoch
from sparsebench.training.cifar import accounts, networks
from sparsebench.training.cifar.schedule import Trained, keep_trained, start_of
from sparsebench.training.datasets import Data
from sparsebench.training.evaluation import evaluate
from sparsebench.training.pace import Pace
from sparsebench.training.peak import peak_of
from sparsebench.training.processes import ALONE, ProcessError, Processes
from sparsebench.training.records import Epoch, LayerConnections, Status, Timing, TrainingRecord
from sparsebench.training.settings import CifarSetting, GPTSetting, Setting
from sparsebench.training.state import Progressing
from sparsebench.training.warm_up import warm_up
from sparselayers.backends.triton_kernels.tuning import TUNER

LOOK_EVERY = 50  # steps between two looks at whether the loss is still finite


class Show(Protocol):
    """What is told of a run under way."""

    def begin(self, setting: Setting, *, epochs_done: int, steps_per_epoch: int) -> None:
        """A run begins, or goes on after `epochs_done`; 0 steps: as many as its time allows."""

    def step(self) -> None:
        """One batch is done."""

    def epoch(self, number: int, epoch: Epoch) -> None:
        """Epoch `number`, counted from 1, is done."""


class _DivergedError(Exception):
    pass


def train(
    setting: Setting,
    data: Data,
    show: Show,
    *,
    folder: Path | None = None,
    timed: bool = True,
    processes: Processes = ALONE,
) -> TrainingRecord:
    """Train `setting` on `data` (on the setting's device), and return what came of it.

    With a `folder`, every epoch leaves a checkpoint there, and a run that has one goes on from it.
    `timed=False` leaves the times out, for a run beside others. A run that diverges or fails
    returns a record that says so. Raises CheckpointError for a checkpoint that cannot be used, and
    ProcessError for a failure of one of several processes: the others wait for it.
    """
    started, tuned = datetime.now(UTC).isoformat(timespec="seconds"), TUNER.seconds
    path = checkpoint.path_of(folder, setting) if folder is not None else None
    state: list[Progressing] = []
    status: Status = "ok"
    message = ""

    origin = None if folder is None else start_of(folder, setting)

    def whole_run() -> None:
        state.append(_begin(setting, data, path, origin, processes))
        _train(state[0], data, show, path, timed=timed)

    peak, method = None, ""
    try:
        warm_up(setting)
        if isinstance(setting, CifarSetting):
            whole_run()  # converting a network to prune it takes more than training it
            if folder is not None and setting.pruning == "none":
                keep_trained(folder, setting, state[0].network)
        elif setting.device == "cpu" and processes is ALONE:
            peak, method = peak_of(setting, data)
            whole_run()
        else:
            peak, method = memory.peak(whole_run, setting.device, alone=False)
    except _DivergedError as error:
        status, message = "diverged", str(error)
    except checkpoint.CheckpointError:
        raise
    except Exception as error:  # whatever it is, it costs this run alone
        status, message = failure(error)
        if processes.size > 1:
            raise ProcessError(f"process {processes.rank}: {message}") from error
    progress = state[0] if state else None
    return TrainingRecord(
        setting=setting,
        status=status,
        message=message,
        note=data.note,
        epochs=progress.epochs if progress else [],
        timing=_timing(progress.epochs, data, setting) if progress and timed else None,
        **(sizes(progress.network, data) if progress else {}),
        peak_memory=peak,
        memory_method=method,
        tuning_s=round(TUNER.seconds - tuned, 3),
        layers=progress.layers if progress else [],
        connections=_connections(progress, data) if progress and status == "ok" else [],
        origin="" if origin is None else origin.key,
        resumed=progress.resumed if progress else 0,
        started=started,
        machine=machine.fingerprint(),
    )


def learning_rate(setting: Setting, progress: float) -> float:
    """Return the rate after the fraction `progress` of all steps, or of the time there is."""
    if isinstance(setting, GPTSetting) and progress < setting.warm_up:  # from a hundredth
        return setting.lr * (0.01 + 0.99 * progress / setting.warm_up)
    if setting.schedule == "cosine":
        return setting.lr * 0.5 * (1.0 + math.cos(math.pi * progress))
    if setting.schedule == "linear":  # to a hundredth
        return setting.lr * (1.0 - 0.99 * progress)
    return setting.lr


def sizes(network: nn.Module, data: Data) -> dict[str, Any]:
    """Return the fields of a record that count parameters and images."""
    return {
        "parameters": weights.number_of_parameters(network),
        "weights": weights.number_of_all_weights(network),
        "train_images": data.sizes[0],
        "test_images": data.sizes[1],
    }


def failure(error: BaseException) -> tuple[Status, str]:
    """Return the status of a run that ended with `error`, and why."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, networks.UnavailableError):
        return "unsupported", reason
    return ("oom" if gpu.out_of_memory(error) else "error"), reason


def _begin(
    setting: Setting,
    data: Data,
    path: Path | None,
    origin: Trained | None,
    processes: Processes,
) -> Progressing:
    """Start a run, or go on from the first process's checkpoint at `path`, if there is one."""
    file = None if path is None else processes.file(path)
    state = None if file is None else checkpoint.load(file, setting, name=path)
    random = torch.get_rng_state()
    progress = Progressing.start(
        setting,
        processes,
        steps_per_epoch=steps_per_epoch(data, setting),
        samples=samples(data),
        origin=origin,
        sparse=None if state is None else state["sparse"],
    )
    if state is not None:
        progress.restore(state)
        torch.set_rng_state(random)
    return progress


def _train(
    progress: Progressing, data: Data, show: Show, path: Path | None, *, timed: bool
) -> None:
    setting = progress.setting
    pace = Pace(setting, steps_per_epoch(data, setting))
    steps = 0 if pace.budget else pace.steps
    show.begin(setting, epochs_done=len(progress.epochs), steps_per_epoch=steps)
    for number in range(len(progress.epochs), setting.epochs):
        counted = isinstance(setting, CifarSetting)
        details = accounts.of(progress.network, setting) if counted else {}
        before = progress.processes.traffic.gradients
        pace.begin(number, spent=sum(epoch.seconds or 0.0 for epoch in progress.epochs))
        loss, losses = _epoch(progress, data, number, pace, show)
        seconds = pace.seconds
        if counted:
            details |= {"losses": losses}
        if pace.budget:
            details |= {"steps": len(losses)}
        epoch = Epoch(
            loss=loss,
            seconds=seconds if timed or pace.budget else None,
            communicated=progress.processes.traffic.gradients - before,
            **evaluate(progress.network, data, setting, progress.processes),
            **details,
        )
        progress.epochs.append(epoch)
        if path is not None:
            progress.save(path)
        show.epoch(number + 1, epoch)


def _epoch(
    progress: Progressing, data: Data, number: int, pace: Pace, show: Show
) -> tuple[float, list[float]]:
    """Train one epoch; return its mean loss, and that of every step on this process's part.

    Raises where the loss is no longer finite.
    """
    setting, processes = progress.setting, progress.processes
    losses: list[Tensor] = []
    total = torch.zeros((), device=setting.device, dtype=torch.float64)
    parts = batches(data, setting, number, processes=processes)
    for step, (images, labels) in enumerate(parts, start=1):
        rate = learning_rate(setting, pace.progress(step - 1))
        for group in progress.optimizer.param_groups:
            group["lr"] = rate
        losses.append(progress.step(images, labels))
        total += losses[-1]
        over = pace.over(step)
        if step % LOOK_EVERY == 0 or over:
            mean = float(processes.ranks.mean(total.clone())) / step
            if not math.isfinite(mean):
                raise _DivergedError(
                    f"the loss is {mean} by step {step} of epoch {number + 1} (lr {rate:g})"
                )
        show.step()
        if over:
            break
    return mean, torch.stack(losses).double().tolist()


def _connections(progress: Progressing, data: Data) -> list[LayerConnections]:
    return topology.of(progress.network, progress.setting, samples(data))


def _timing(epochs: list[Epoch], data: Data, setting: Setting) -> Timing | None:
    samples = [epoch.seconds for epoch in epochs if epoch.seconds is not None]
    if not samples:
        return None
    steps = steps_per_epoch(data, setting)
    if counts := [epoch.steps for epoch in epochs if epoch.steps is not None]:
        each = [seconds / count for seconds, count in zip(samples, counts, strict=True)]
        method = "wall clock of whole epochs over their steps"
        return Timing(steps=1, samples=each, steps_per_epoch=steps, method=method)
    return Timing(
        steps=steps, samples=samples, steps_per_epoch=steps, method="wall clock of whole epochs"
    )

"""Train one setting: epochs over data in memory, a checkpoint after each, a record at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsebench.measuring import gpu, machine, memory
from sparsebench.training import checkpoint, models
from sparsebench.training.cifar import accounts, networks
from sparsebench.training.cifar.data import SHAPE
from sparsebench.training.cifar.schedule import Trained, keep_trained, make_pruner, stages, start_of
from sparsebench.training.data import Dataset
from sparsebench.training.processes import ALONE, ProcessError, Processes
from sparsebench.training.records import Epoch, Layer, Status, Timing, TrainingRecord
from sparsebench.training.rewiring import Rewirer, make_rewirer
from sparsebench.training.setting import Setting
from sparselayers.backends.kernels.tuning import TUNER
from sparselayers.convert import Decision

LOOK_EVERY = 50  # steps between two looks at whether the loss is still finite
TEST_BATCH = 250


class Show(Protocol):
    """What is told of a run under way."""

    def begin(self, setting: Setting, *, epochs_done: int, steps_per_epoch: int) -> None:
        """A run begins, or goes on after `epochs_done`."""

    def step(self) -> None:
        """One batch is done."""

    def epoch(self, number: int, epoch: Epoch) -> None:
        """Epoch `number`, counted from 1, is done."""


class _DivergedError(Exception):
    pass


@dataclass
class Progressing:
    """A network and all that changes while it trains; `model` is the network in all processes."""

    setting: Setting
    processes: Processes
    network: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    rewirer: Rewirer
    layers: list[Layer] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    resumed: int = 0

    @classmethod
    def start(
        cls,
        setting: Setting,
        processes: Processes = ALONE,
        *,
        steps_per_epoch: int = 1,
        origin: Trained | None = None,
        sparse: list[str] | None = None,
    ) -> Progressing:
        """Build what `setting` asks for.

        A network of CIFAR-10 begins as the dense network `origin`; `sparse` are the layers that
        were found to be faster when the run that goes on was begun.
        """
        torch.set_num_threads(setting.threads)
        built = _build(setting, origin, sparse)
        network = built.network
        model = processes.parallel(network)
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=setting.lr,
            momentum=setting.momentum,
            nesterov=setting.nesterov,
            weight_decay=setting.weight_decay,
        )
        if setting.network == "mlp":
            rewirer = make_rewirer(setting, network, optimizer, processes.ranks)
        else:
            rewirer = make_pruner(setting, network, optimizer, steps_per_epoch)
        layers = list(map(layer_of, built.decisions))
        return cls(setting, processes, network, model, optimizer, rewirer, layers)

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take one step on this process's part of a batch; return its loss, detached."""
        loss = F.cross_entropy(self.model(images), labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.rewirer.step()
        return loss.detach()

    def save(self, path: Path) -> None:
        """Write a checkpoint; the first process does, for all."""
        if not self.processes.first:
            return
        checkpoint.save(
            path,
            self.setting,
            {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "rewirer": self.rewirer.state_dict(),
                "epochs": [epoch.model_dump() for epoch in self.epochs],
                "layers": [layer.model_dump() for layer in self.layers],
                "sparse": networks.sparse_paths(self.network),
                "resumed": self.resumed,
            },
        )

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rewirer.load_state_dict(state["rewirer"])
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        self.layers = [Layer(**layer) for layer in state["layers"]]
        self.resumed = state["resumed"] + 1


def train(
    setting: Setting,
    data: Dataset,
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
        if setting.network == "mlp":
            peak, method = memory.peak(whole_run, setting.device)
        else:  # converting a network to prune it takes more than training it
            whole_run()
        if folder is not None and setting.network != "mlp" and setting.pruning == "none":
            keep_trained(folder, setting, state[0].network)
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
        origin="" if origin is None else origin.key,
        resumed=progress.resumed if progress else 0,
        started=started,
        machine=machine.fingerprint(),
    )


def batches(
    data: Dataset,
    setting: Setting,
    epoch: int,
    *,
    first: int = 0,
    processes: Processes = ALONE,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of `epoch` from number `first` on; a last one that is not full is dropped.

    Of each batch every process gets its part. The order depends on the seed and the epoch alone, so
    it needs no state to go on.
    """
    generator = torch.Generator().manual_seed(1_000_003 * setting.seed + epoch)
    order = torch.randperm(len(data.train_labels), generator=generator).to(setting.device)
    for number in range(first, steps_per_epoch(data, setting)):
        chosen = processes.part(order[number * setting.batch : (number + 1) * setting.batch])
        yield data.train_images[chosen], data.train_labels[chosen]


def steps_per_epoch(data: Dataset, setting: Setting) -> int:
    """Return the number of full batches; raises ValueError where there is none."""
    if steps := len(data.train_labels) // setting.batch:
        return steps
    raise ValueError(
        f"batch must be at most {len(data.train_labels)}, the images of {data.name}; "
        f"got {setting.batch}"
    )


@torch.no_grad()
def accuracy(network: nn.Module, data: Dataset, processes: Processes = ALONE) -> float:
    """Return the fraction of all test images that `network` classifies correctly.

    Each process looks at a part of them.
    """
    network.eval()
    images, labels = processes.part(data.test_images), processes.part(data.test_labels)
    right = torch.zeros((), dtype=torch.int64, device=labels.device)
    for start in range(0, len(labels), TEST_BATCH):
        some = slice(start, start + TEST_BATCH)
        right += (network(images[some]).argmax(1) == labels[some]).sum()
    network.train()
    return int(processes.ranks.sum(right)) / len(data.test_labels)


def learning_rate(setting: Setting, progress: float) -> float:
    """Return the rate after the fraction `progress` of all steps."""
    if setting.schedule == "cosine":
        return setting.lr * 0.5 * (1.0 + math.cos(math.pi * progress))
    return setting.lr


def sizes(network: nn.Module, data: Dataset) -> dict[str, Any]:
    """Return the fields of a record that count parameters and images."""
    return {
        "parameters": models.number_of_parameters(network),
        "weights": models.number_of_all_weights(network),
        "train_images": len(data.train_labels),
        "test_images": len(data.test_labels),
    }


def failure(error: BaseException) -> tuple[Status, str]:
    """Return the status of a run that ended with `error`, and why."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, networks.UnavailableError):
        return "unsupported", reason
    return ("oom" if gpu.out_of_memory(error) else "error"), reason


def warm_up(setting: Setting) -> None:
    """Take a step of a small network of this kind, so that code it loads counts for no run.

    On a GPU it is the network itself: kernels are compiled, and tuned, for its own sizes.
    """
    if setting.device != "cpu":
        _warm_up(replace(setting, experiment="", row="", seed=0, epochs=1))
        return
    if setting.network != "mlp":
        kind = Setting(
            experiment="", row="", network=setting.network, model="dense", sparsity=0.0, batch=2
        )
        _warm_up(kind)
        return
    kind = Setting(experiment="", row="", model=setting.model, activation=setting.activation)
    _warm_up(replace(kind, width=50, batch=2))


@cache
def _warm_up(setting: Setting) -> None:
    shape = (models.PIXELS,) if setting.network == "mlp" else SHAPE
    images = torch.zeros(setting.batch, *shape, device=setting.device)
    labels = torch.zeros(setting.batch, dtype=torch.long, device=setting.device)
    started = Progressing.start(setting)
    started.step(images, labels)
    if setting.device != "cpu":
        with torch.no_grad():
            started.network.eval()(images[:1].expand(TEST_BATCH, *shape))


def layer_of(decision: Decision) -> Layer:
    """Return what is recorded of a layer that was measured."""
    return Layer(
        path=decision.path,
        shape=list(decision.shape),
        input_shape=list(decision.input_shape),
        sparsity=decision.sparsity,
        dense_s=decision.times.first,
        sparse_s=decision.times.second,
        chosen=decision.chosen,
        bytes_saved=decision.bytes_saved,
    )


def _build(setting: Setting, origin: Trained | None, sparse: list[str] | None) -> networks.Built:
    if setting.network == "mlp":
        return networks.Built(models.build(setting))
    return networks.build(
        setting,
        sparsity=stages(setting)[0],
        start=None if origin is None else origin.state,
        sparse=sparse,
    )


def _begin(
    setting: Setting,
    data: Dataset,
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
        origin=origin,
        sparse=None if state is None else state["sparse"],
    )
    if state is not None:
        progress.restore(state)
        torch.set_rng_state(random)
    return progress


def _train(
    progress: Progressing, data: Dataset, show: Show, path: Path | None, *, timed: bool
) -> None:
    setting = progress.setting
    steps = steps_per_epoch(data, setting)
    show.begin(setting, epochs_done=len(progress.epochs), steps_per_epoch=steps)
    for number in range(len(progress.epochs), setting.epochs):
        details = {} if setting.network == "mlp" else accounts.of(progress.network, setting)
        start, before = time.perf_counter(), progress.processes.traffic.gradients
        loss, losses = _epoch(progress, data, number, show)
        seconds = time.perf_counter() - start
        if details:
            details |= {"losses": losses}
        epoch = Epoch(
            loss=loss,
            accuracy=accuracy(progress.network, data, progress.processes),
            seconds=seconds if timed else None,
            communicated=progress.processes.traffic.gradients - before,
            **details,
        )
        progress.epochs.append(epoch)
        if path is not None:
            progress.save(path)
        show.epoch(number + 1, epoch)


def _epoch(
    progress: Progressing, data: Dataset, number: int, show: Show
) -> tuple[float, list[float]]:
    """Train one epoch; return its mean loss, and that of every step on this process's part.

    Raises where the loss is no longer finite.
    """
    setting, steps = progress.setting, steps_per_epoch(data, progress.setting)
    processes = progress.processes
    losses: list[Tensor] = []
    total = torch.zeros((), device=setting.device, dtype=torch.float64)
    parts = batches(data, setting, number, processes=processes)
    for step, (images, labels) in enumerate(parts):
        rate = learning_rate(setting, (number * steps + step) / (setting.epochs * steps))
        for group in progress.optimizer.param_groups:
            group["lr"] = rate
        losses.append(progress.step(images, labels))
        total += losses[-1]
        if (step + 1) % LOOK_EVERY == 0 or step + 1 == steps:
            mean = float(processes.ranks.mean(total.clone())) / (step + 1)
            if not math.isfinite(mean):
                raise _DivergedError(
                    f"the loss is {mean} by step {step + 1} of epoch {number + 1} (lr {rate:g})"
                )
        show.step()
    return mean, torch.stack(losses).double().tolist()


def _timing(epochs: list[Epoch], data: Dataset, setting: Setting) -> Timing | None:
    samples = [epoch.seconds for epoch in epochs if epoch.seconds is not None]
    if not samples:
        return None
    steps = steps_per_epoch(data, setting)
    return Timing(
        steps=steps, samples=samples, steps_per_epoch=steps, method="wall clock of whole epochs"
    )

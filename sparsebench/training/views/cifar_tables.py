"""Tables of the networks pruned on CIFAR-10. They never measure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sparsebench.training.clock import after_epochs
from sparsebench.training.records import Epoch, TrainingRecord
from sparsebench.training.settings import CifarSetting
from sparsebench.views import units
from sparsebench.views.tables import Table

Row = dict[str, Any]

NAMES = {"vgg11_bn": "VGG11 with batch normalisation", "resnet18": "ResNet18"}


def of(records: Sequence[TrainingRecord]) -> list[Table]:
    """Return the tables of all records of CIFAR-10; each table is of one machine and size."""
    kinds: dict[tuple[Any, ...], list[TrainingRecord]] = {}
    for record in records:
        if isinstance(record.setting, CifarSetting):
            kinds.setdefault(kind_of(record), []).append(record)
    made = []
    first = {kind[0] for kind in kinds}
    for place, own in enumerate(kinds.values()):
        suffix = "" if len(kinds) == len(first) else f"-{place + 1}"
        made += _summary(own, suffix) + _epochs(own, suffix) + _layers(own, suffix)
    return made


def kind_of(record: TrainingRecord) -> tuple[Any, ...]:
    """Return what the records of one table have in common."""
    setting = record.setting
    machine = str(record.machine.get("id", ""))
    return setting.experiment, machine, setting.images, setting.batch, setting.dataset


def runs(own: Sequence[TrainingRecord]) -> list[TrainingRecord]:
    """Return the records of networks trained to the end."""
    return [r for r in own if r.purpose == "accuracy" and r.status == "ok"]


def dense_runs(own: Sequence[TrainingRecord]) -> list[TrainingRecord]:
    """Return the records of networks trained to the end that were not pruned."""
    return [run for run in runs(own) if not _pruned(run)]


def pruned_runs(own: Sequence[TrainingRecord]) -> dict[str, TrainingRecord]:
    """Return records of networks pruned, and trained to the end, in masks and in sparse storage.

    The first of each that is pruned as the first of all is, at once or gradually.
    """
    pruned = [run for run in runs(own) if _pruned(run)]
    found: dict[str, TrainingRecord] = {}
    for run in pruned:
        if run.setting.columns["pruning"] == pruned[0].setting.columns["pruning"]:
            found.setdefault(run.setting.model, run)
    return found


def timed_runs(own: Sequence[TrainingRecord]) -> dict[str, TrainingRecord]:
    """Return the records of steps that were timed by themselves, by their rows."""
    return {r.setting.row: r for r in own if r.purpose == "time" and r.status == "ok"}


def clock_of(run: TrainingRecord, steps: TrainingRecord | None) -> list[float] | None:
    """Return the seconds after each epoch, tests not counted; None where they were not measured.

    As the epochs took them where they were timed, or else made up of `steps` timed by themselves.
    """
    took = after_epochs(run.setting, [run])
    return took if took or steps is None else after_epochs(run.setting, [steps])


def conditions(own: Sequence[TrainingRecord]) -> str:
    """Say in a few words what the figures are of."""
    first = own[0]
    trained, tested = f"{first.train_images:,}", f"{first.test_images:,}"
    threads = sorted({record.setting.threads for record in own})
    return (
        f"{NAMES[first.setting.network]}, trained on the first {trained} images of CIFAR-10's "
        f"50,000, tested on {tested} of its 10,000, batch {first.setting.batch}, "
        f"{' or '.join(map(str, threads))} threads"
    )


def _summary(own: list[TrainingRecord], suffix: str) -> list[Table]:
    """A line a way to train: accuracy, time of an epoch, speed-up over dense, memory."""
    timed = timed_runs(own)
    trained = {r.setting.row: r for r in runs(own)}
    rows = list(dict.fromkeys((*trained, *timed)))
    if not rows:
        return []
    base = _steps(timed.get("dense"))
    numbers: list[Row] = []
    for row in rows:
        run, steps = trained.get(row), timed.get(row)
        one = run or steps
        assert one is not None
        seconds = _steps(steps)
        clock = clock_of(run, steps) if run else None
        numbers.append(
            {
                "machine": str(one.machine.get("id", "")),
                "row": row,
                "sparsity": one.setting.sparsity,
                "weights": one.weights,
                "epochs": one.setting.epochs if run else None,
                "accuracy [%]": 100 * run.epochs[-1].accuracy if run else None,
                "loss": run.epochs[-1].loss if run else None,
                "seconds": clock[-1] if clock else None,
                "seconds per step": seconds,
                "speedup": base / seconds if base and seconds else None,
                "peak memory [B]": steps.peak_memory if steps else None,
            }
        )
    foreign = {r.setting.row for r in own if getattr(r.setting, "swap", "") == "sparseprop"}
    text = [
        {
            "row": n["row"],
            # Those in SparseProp's layers are not counted.
            "weights": "not counted" if n["row"] in foreign else f"{n['weights']:,}",
            "accuracy": number(n["accuracy [%]"], "{:.1f}"),
            "last loss": number(n["loss"], "{:.3f}"),
            "training": number(n["seconds"], "{:.1f} min", 1 / 60),
            "ms a step": number(n["seconds per step"], "{:.0f}", 1e3),
            "over dense": units.ratio(n["speedup"]) if n["speedup"] else "not measured",
            "peak memory": units.quantity(n["peak memory [B]"], "B")
            if n["peak memory [B]"]
            else "not measured",
        }
        for n in numbers
    ]
    name = own[0].setting.experiment
    caption = (
        f"{name}: {conditions(own)}: test accuracy in percent and training loss of the last epoch; "
        "time of all epochs, tests not counted; time of a training step and peak memory, measured "
        "by themselves with untrained weights"
    )
    return [Table(f"{name}{suffix}", caption, pd.DataFrame(numbers), frame(text))]


def _epochs(own: list[TrainingRecord], suffix: str) -> list[Table]:
    """Every epoch of what is pruned, masks and sparse storage side by side."""
    both = pruned_runs(own)
    if not both:
        return []
    numbers, text = [], []
    for epoch_number in range(min(len(record.epochs) for record in both.values())):
        epochs = {model: record.epochs[epoch_number] for model, record in sorted(both.items())}
        numbers.append(
            {"epoch": epoch_number + 1}
            | {
                f"{model} {key}": value
                for model, epoch in epochs.items()
                for key, value in _fields(epoch).items()
            }
        )
        last = list(epochs.values())[-1]
        text.append(
            {
                "epoch": str(epoch_number + 1),
                "sparsity": f"{100 * (last.sparsity or 0.0):.1f}%",
                "loss": _arrow([f"{e.loss:.3f}" for e in epochs.values()]),
                "accuracy": _arrow([f"{100 * e.accuracy:.1f}" for e in epochs.values()]),
                "seconds": _arrow([number(e.seconds, "{:.1f}") for e in epochs.values()]),
                "held": _arrow([units.quantity(e.held or 0, "B") for e in epochs.values()]),
            }
        )
    name = own[0].setting.experiment
    ways = " → ".join({"masked": "masks", "sparse": "sparse"}[model] for model in sorted(both))
    caption = (
        f"{name}, epoch by epoch ({ways}): {conditions(own)}; accuracy as the epoch "
        "leaves the network, pruned for the next one already; seconds of training alone; held: "
        "parameters, gradients, momentum, masks, indices, counted from the tensors"
    )
    return [Table(f"{name}-epochs{suffix}", caption, pd.DataFrame(numbers), frame(text))]


def _layers(own: list[TrainingRecord], suffix: str) -> list[Table]:
    """What was measured of each layer, preferably where only times were taken."""
    having = [record for record in own if record.layers]
    if not having:
        return []
    record = max(having, key=lambda record: record.purpose == "time")
    numbers = pd.DataFrame([layer.model_dump() for layer in record.layers])
    text = [
        {
            "layer": layer.path,
            "shape": "×".join(map(str, layer.shape)),
            "input": "×".join(map(str, layer.input_shape)),
            "sparsity": f"{100 * layer.sparsity:.1f}%",
            "dense ms": f"{1e3 * layer.dense_s:.2f}",
            "sparse ms": f"{1e3 * layer.sparse_s:.2f}",
            "speed-up": units.ratio(layer.dense_s / layer.sparse_s),
            "chosen": layer.chosen,
            "bytes saved": units.quantity(layer.bytes_saved, "B"),
        }
        for layer in record.layers
    ]
    name = record.setting.experiment
    caption = (
        f"{name}, layer by layer: forward and backward of each layer by itself, dense and sparse "
        f"in turn; batch {record.setting.batch}, {record.setting.threads} threads"
    )
    return [Table(f"{name}-layers{suffix}", caption, numbers, frame(text))]


def _pruned(record: TrainingRecord) -> bool:
    return isinstance(record.setting, CifarSetting) and record.setting.pruning != "none"


def _fields(epoch: Epoch) -> Row:
    return {
        "sparsity": epoch.sparsity,
        "loss": epoch.loss,
        "accuracy": epoch.accuracy,
        "seconds": epoch.seconds,
        "held [B]": epoch.held,
    }


def _steps(record: TrainingRecord | None) -> float | None:
    """Return the median seconds of a step."""
    if record is None or record.timing is None:
        return None
    return statistics.median(record.timing.samples) / record.timing.steps


def _arrow(both: Sequence[str]) -> str:
    return " → ".join(both) if len(set(both)) > 1 else both[0]


def number(value: float | None, form: str, factor: float = 1.0) -> str:
    """Return a value in the given form, and words where it was not measured."""
    return "not measured" if value is None else form.format(factor * value)


def frame(rows: list[Row]) -> pd.DataFrame:
    """Return rows of text, without columns in which nothing was measured."""
    made = pd.DataFrame(rows).fillna("").astype(str)
    empty = [c for c in made if set(made[c]) <= {"", "not measured"}]
    return made.drop(columns=empty)

"""Tables of what a pruned network takes in every format. They never measure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sparsebench.training.cifar.format_records import FormatsRecord
from sparsebench.training.views.cifar_tables import NAMES, frame, number
from sparsebench.views import units
from sparsebench.views.tables import Table


def of(records: Sequence[FormatsRecord]) -> list[Table]:
    """Return the report of each machine, device and number of threads: a line a sparsity."""
    kinds: dict[tuple[Any, ...], list[FormatsRecord]] = {}
    for record in records:
        key = str(record.machine.get("id", "")), record.device, record.threads, record.network
        kinds.setdefault(key, []).append(record)
    made = []
    for place, own in enumerate(kinds.values()):
        own.sort(key=lambda record: record.sparsity)
        suffix = "" if len(kinds) == 1 else f"-{place + 1}"
        made += [_memory(own, suffix), _evaluation(own, suffix)]
    return made


def _memory(own: list[FormatsRecord], suffix: str) -> Table:
    numbers = [
        {"sparsity": r.sparsity, "accuracy": r.accuracy}
        | {f"{name} [B]": size for name, size in r.held.items()}
        for r in own
    ]
    text = [
        {
            "sparsity": units.percent(r.sparsity),
            "accuracy": number(r.accuracy, "{:.1f}", 100.0),
        }
        | {name: units.quantity(size, "B") for name, size in r.held.items()}
        for r in own
    ]
    caption = (
        f"Memory of {NAMES[own[0].network]}, pruned at once, by magnitude, each layer alike, "
        f"without training after it: {_conditions(own)}; sparse: this library's layers"
    )
    return Table(f"cifar-report-memory{suffix}", caption, pd.DataFrame(numbers), frame(text))


def _evaluation(own: list[FormatsRecord], suffix: str) -> Table:
    medians = [
        {name: statistics.median(samples) for name, samples in r.seconds.items()} for r in own
    ]
    numbers = [
        {"sparsity": r.sparsity} | {f"{name} [s]": value for name, value in times.items()}
        for r, times in zip(own, medians, strict=True)
    ]
    text = [
        {"sparsity": units.percent(r.sparsity)}
        | {name: units.quantity(value, "s") for name, value in times.items()}
        for r, times in zip(own, medians, strict=True)
    ]
    caption = (
        f"Time to evaluate {own[0].images} images with {NAMES[own[0].network]}, by parts, medians "
        f"of {len(next(iter(own[0].seconds.values())))}: {_conditions(own)}; coo and csr: "
        "PyTorch's own sparse tensors; sparse: this library's layers"
    )
    return Table(f"cifar-report-time{suffix}", caption, pd.DataFrame(numbers), frame(text))


def _conditions(own: Sequence[FormatsRecord]) -> str:
    trained = "trained by cifar-vgg" if own[0].origin else "not trained"
    threads = f", {own[0].threads} threads" if own[0].device == "cpu" else ""
    return (
        f"{trained}, tested on {own[0].test_images:,} of CIFAR-10's 10,000 test images, "
        f"{own[0].device}{threads}"
    )

"""Does a peak of memory repeat? The peaks of training, and of layers, taken in many processes.

    python benchmarks/memory.py --runs 5 --out results/reference/memory.json

Each run is a process of its own, and every second one has left holes of all sizes in its heap
before, as the rows before do in a real one. Nothing is timed: other work on the machine does not
matter, and neither does how much of its memory is free. Fails where runs of one kind are more than
5% apart, and more than two pages.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sparsebench.cases.case import Case
from sparsebench.measuring import isolation, machine, worker
from sparsebench.training import experiment
from sparsebench.training.datasets import Dataset
from sparsebench.training.peak import peak_of
from sparsebench.training.settings import MLPSetting, Setting
from sparsebench.training.warm_up import warm_up

APART = 0.05
PAGES = 2 * 4096  # of a layer so small that they are more than 5% of it
LAYERS = (("dense", 64), ("ours", 64), ("dense", 2048), ("ours", 2048))
IMAGES = 2000


def holes() -> None:
    """Leave some in the heap."""
    kept = [torch.ones(256 * size) for size in range(1, 1000)]
    del kept[::2]


def of_training(setting: Setting, after_others: bool) -> int:
    """Return the peak of training a row, in bytes; of images that are drawn."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, *setting.IMAGE, generator=generator)
    labels = torch.randint(10, (IMAGES,), generator=generator)
    warm_up(setting)
    if after_others:
        holes()
    return peak_of(setting, Dataset("made up", images, labels, images, labels))[0]


def of_layer(case: Case, after_others: bool) -> int:
    """Return what a layer holds, and its training step adds, in bytes."""
    if after_others:
        holes()
    with tempfile.TemporaryDirectory() as folder:
        worker.prepare(case, Path(folder))
        memory = worker.measure(case, Path(folder), 1e-4, None).memory
    assert memory.held is not None
    assert memory.training_peak is not None
    return memory.held + memory.training_peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--experiment", default="mnist")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows = experiment.shipped(given.experiment).rows
    asked: list[tuple[str, Any, Any]] = [
        (f"{given.experiment}: {row.row}", of_training, replace(row, threads=given.threads))
        for row in rows
        if isinstance(row, MLPSetting)
    ]
    for name, width in LAYERS:
        case = Case(
            implementation=name, in_features=width, out_features=width, sparsity=0.9, batch=64,
            phase="train_step", threads=given.threads,
        )  # fmt: skip
        asked.append((f"{name} {width}²", of_layer, case))
    found: dict[str, list[int]] = {}
    for run in range(given.runs):  # whole passes, so that the runs of a kind lie minutes apart
        for name, take, what in asked:
            peak = isolation.call(take, what, run % 2 == 1, timeout_s=600)
            found.setdefault(name, []).append(peak)
    apart = {name: max(peaks) / min(peaks) - 1 for name, peaks in found.items()}
    for name, peaks in found.items():
        print(f"{name:28} {min(peaks) / 1e6:10.4g} to {max(peaks) / 1e6:.4g} MB  {apart[name]:.1%}")
    if given.out:
        told = {"machine": machine.fingerprint(), "apart": apart, "bytes": found}
        given.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    wide = [n for n, p in found.items() if apart[n] > APART and max(p) - min(p) > PAGES]
    if wide:
        raise SystemExit(f"more than {APART:.0%} apart: {', '.join(wide)}")


if __name__ == "__main__":
    main()

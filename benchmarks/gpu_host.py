"""The host's time of one layer on a GPU whose launches do nothing, beside nn.Linear's.

    python benchmarks/gpu_host.py out.jsonl

Processor time of forward and backward, eager, in rounds that alternate. nn.Linear computes for
real, on the CPU, at sizes where that is little (`features` squared, `batch`): its share makes the
ratio look better than it is, and the smallest size is the one to read. What the stand-in leaves out
stands in sparsebench/regression/launches.py. No figure of a GPU. A record says how many programs
wanted a core meanwhile (`load`): they make both slower, and do not count otherwise.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn

import sparselayers as sl
from sparsebench.measuring import machine
from sparsebench.regression import launches

ROUNDS, CALLS = 9, 60
SIZES = ((16, 1), (16, 16), (64, 64))  # features, batch


def microseconds(layer: nn.Module, x: torch.Tensor, dy: torch.Tensor) -> float:
    """Processor time of a forward and a backward pass."""
    leaves = [x, *layer.parameters()]
    start = time.thread_time()
    for _ in range(CALLS):
        for leaf in leaves:
            leaf.grad = None
        layer(x).backward(dy)
    return 1e6 * (time.thread_time() - start) / CALLS


def main(out: Path) -> None:
    """Measure every size, print it and append it to `out`."""
    torch.set_num_threads(1)
    launches.install()
    for features, batch in SIZES:
        layers = {
            "ours": sl.SparseLinear(features, features, sparsity=0.9, backend="triton"),
            "dense": nn.Linear(features, features),
        }
        x, dy = torch.randn(batch, features, requires_grad=True), torch.randn(batch, features)
        for layer in layers.values():
            microseconds(layer, x, dy)
        taken: dict[str, list[float]] = {name: [] for name in layers}
        for _ in range(ROUNDS):
            for name, layer in layers.items():
                taken[name].append(round(microseconds(layer, x, dy), 1))
        ratio = statistics.median(o / d for o, d in zip(taken["ours"], taken["dense"], strict=True))
        record = {
            "what": "host time, launches that do nothing, tensors on the CPU: no GPU",
            "features": features, "batch": batch, "sparsity": 0.9, "us": taken,
            "ratio": round(ratio, 3), "load": round(os.getloadavg()[0], 1),
            "torch": torch.__version__, "machine": machine.fingerprint(),
        }  # fmt: skip
        with out.open("a") as file:
            file.write(json.dumps(record) + "\n")
        medians = {name: round(statistics.median(times), 1) for name, times in taken.items()}
        print(f"{features} features, batch {batch}: {medians} µs, ratio {ratio:.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""What one rewiring costs for each connection: nanoseconds of clock and CPU, and bytes.

    python benchmarks/rewiring_cost.py --connections 1e7 --rules SET,GSE --threads 1,2
    python benchmarks/rewiring_cost.py --connections 1e8 --sparsity 0.98 --rules RigL --times 1

Each number of threads and rule is measured in a process of its own, on a square layer with random
connections that is trained by SGD with momentum. A rewiring is `Rewirer.step` where it is due,
after a step of the optimizer that is not counted. `peak` is the highest that memory rose above the
process before it had the layer: weights, their gradient, momentum, connections, and in- and outputs
of the batch are part of it. `rise` is what of it the rewiring alone took. RigL looks at every
place, of which there are connections² / per_output², or connections / (1 − sparsity). What does not
fit into the memory that is free is refused before anything is made.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

import psutil
import torch

import sparselayers as sl
from sparsebench.measuring import hostlock, isolation, machine, memory

RULES = {rule.__name__: rule for rule in (sl.SET, sl.dynamic.MEST, sl.RigL, sl.dynamic.GSE)}
FIRST = 64 * 4, 64  # a layer that is rewired first: it loads what is loaded once
BYTES = 60  # of a connection, rather more than the peak of any rule, and of making the layer


def measure(
    rule: str, connections: int, width: int, batch: int, threads: int, times: int
) -> dict[str, Any]:
    """Return seconds of the clock and of the CPU of each rewiring, and bytes."""
    torch.set_num_threads(threads)
    _measure(rule, *FIRST, batch, 1)
    return _measure(rule, connections, width, batch, times)


def _measure(rule: str, connections: int, width: int, batch: int, times: int) -> dict:
    generator = torch.Generator().manual_seed(0)
    base = memory.held("cpu")
    sparsity = 1 - connections / width**2
    layer = sl.SparseLinear(width, width, sparsity=sparsity, generator=generator)
    x, dy = torch.randn(2, batch, width, generator=generator)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3, momentum=0.9)
    rewirer = RULES[rule](layer, optimizer, update_every=1, stop_after=10**9)
    wall: list[float] = []
    cpu: list[float] = []

    def rewire() -> None:
        start = time.perf_counter(), time.process_time()
        rewirer.step()
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])

    def train() -> None:
        optimizer.zero_grad()
        layer(x).backward(dy)
        optimizer.step()

    train()
    held = memory.held("cpu") - base
    rise, _ = memory.peak(rewire, "cpu", alone=False)
    while len(wall) < times:
        train()
        rewire()
    nnz = layer.weights.numel()
    return {"nnz": nnz, "wall": wall, "cpu": cpu, "held": held, "rise": rise}


def width_of(connections: int, per_output: int, sparsity: float | None) -> int:
    """Return how wide the layer is; SystemExit where it cannot be, or not in this memory."""
    if sparsity is not None and not 0 < sparsity < 1:
        raise SystemExit(f"--sparsity must be between 0 and 1, got {sparsity}")
    width = connections // per_output
    if sparsity is not None:
        width = round(math.sqrt(connections / (1 - sparsity)))
    if not 0 < connections <= width**2:
        raise SystemExit(
            f"{connections:,} connections do not fit into a layer of {width:,} outputs and inputs"
        )
    needed, free = BYTES * connections, psutil.virtual_memory().available
    if needed > free:
        raise SystemExit(
            f"{connections:,} connections need some {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB "
            "are free: choose fewer"
        )
    return width


def numbers(text: str) -> list[int]:
    """Return whole numbers with commas between them; 1e7 is one."""
    return [int(float(part)) for part in text.split(",")]


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--connections", type=numbers, default=[10**6])
    parser.add_argument("--per-output", type=int, default=100)
    parser.add_argument("--sparsity", type=float, help="in the place of --per-output")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rules", default="SET,GSE")
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--times", type=int, default=3, help="rewirings of each layer")
    parser.add_argument("--out", type=Path, help="a file that gets a line of JSON for each")
    given = parser.parse_args()
    widths = {n: width_of(n, given.per_output, given.sparsity) for n in given.connections}
    print("connections rule threads   wall ns  CPU ns  peak B  rise B   (of each connection)")
    with hostlock.measuring():
        for connections in given.connections:
            for rule in given.rules.split(","):
                for threads in given.threads:
                    size = connections, widths[connections]
                    asked = rule, *size, given.batch, threads, given.times
                    found = isolation.call(measure, *asked, timeout_s=3600)
                    nnz = found["nnz"]
                    wall, cpu = (
                        1e9 * statistics.median(found[key]) / nnz for key in ("wall", "cpu")
                    )
                    peak, rise = (found["held"] + found["rise"]) / nnz, found["rise"] / nnz
                    print(
                        f"{nnz:11,} {rule:5} {threads:6} {wall:9.1f} {cpu:7.1f} "
                        f"{peak:7.1f} {rise:7.1f}",
                        flush=True,
                    )
                    if given.out:
                        told = {"rule": rule, "threads": threads, "batch": given.batch} | found
                        told["machine"] = machine.fingerprint()
                        with given.out.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()

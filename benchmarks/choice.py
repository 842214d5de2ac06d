"""How often the way that is chosen is not the fastest, and by how much.

    python benchmarks/choice.py --dtype bfloat16

Times a training step's forward and backward pass of layers of random connections, small and large,
by every way and by the one that is chosen, in rounds of random order. Prints milliseconds, and how
many layers take more than 1.1 times as long as by the fastest single way.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import time

import torch

import sparselayers as sl
from sparsebench.measuring import hostlock
from sparselayers.backends import BACKENDS
from sparselayers.backends import native as ways

WAYS = "lanes", "bitmaps", "panels", "amx"
ROUNDS, WARM = 6, 3
LEAST, MOST, SECONDS = 3, 20, 0.02  # calls in a row, and how long they may take
WRONG = 1.1


def layers(width: int, sparsity: float, dtype: torch.dtype) -> dict[str, torch.nn.Module]:
    """Return a dense layer, and one of the same connections by every way."""
    found: dict[str, torch.nn.Module] = {"dense": torch.nn.Linear(width, width, dtype=dtype)}
    for name in ("native", *WAYS):
        if BACKENDS[name].supports(torch.device("cpu"), dtype):
            seeded = torch.Generator().manual_seed(0)
            found[name] = sl.SparseLinear(
                width, width, sparsity=sparsity, dtype=dtype, backend=name, generator=seeded
            )
    return found


def seconds(layers: dict[str, torch.nn.Module], batch: int) -> dict[str, float]:
    """Return the median time of a forward and backward pass by each."""
    width = next(iter(layers.values())).in_features
    dtype = next(layers["dense"].parameters()).dtype
    x, dy = torch.randn(2, batch, width).to(dtype)
    times: dict[str, list[float]] = {name: [] for name in layers}
    for _ in range(ROUNDS):
        for name in random.sample(list(layers), len(layers)):  # what came before fills the caches
            layer, known = layers[name], times[name]
            number = max(LEAST, min(MOST, int(SECONDS / known[-1]))) if known else LEAST
            for call in range(WARM + number):
                if call == WARM:
                    start = time.perf_counter()
                layer(x.detach().requires_grad_()).backward(dy)
                layer.zero_grad()
            known.append((time.perf_counter() - start) / number)
    return {name: statistics.median(known) for name, known in times.items()}


def main() -> None:
    """Measure the layers that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--widths", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 128])
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.5, 0.6, 0.7, 0.8])
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    dtype = getattr(torch, given.dtype)
    ratios = []
    with hostlock.measuring():
        ways.settle(dtype)
        for width, sparsity in itertools.product(given.widths, given.sparsities):
            made = layers(width, sparsity, dtype)
            for batch in given.batches:
                times = seconds(made, batch)
                best = min(set(times) - {"dense", "native"}, key=lambda name, t=times: t[name])
                ratios.append(times["native"] / times[best])
                told = ", ".join(f"{name} {1e3 * each:.3f}" for name, each in times.items())
                wrong = f"  <- {ratios[-1]:.2f} of {best}" if ratios[-1] > WRONG else ""
                print(f"{width}, {sparsity:.0%}, batch {batch}: {told}{wrong}", flush=True)
    print(
        f"{sum(ratio > WRONG for ratio in ratios)} of {len(ratios)} take over {WRONG} times as "
        f"long as by the fastest way; in the mean {statistics.mean(ratios):.3f}"
    )


if __name__ == "__main__":
    main()

"""Row blocks against the dense product and against as many connections at random, in turns.

    python benchmarks/row_blocks.py --widths 2048 --batches 1 64 128 --out row_blocks.json

Prints milliseconds (the least of the rounds, for what else a machine does only ever adds to them),
useful GFLOP/s, each over dense's and over those of as many connections at random; of a batch of
one the bytes of values a second, over those of a sum of as many numbers. Appends one JSON line for
each point to `--out`. Layers are square; inference is the forward pass, step both passes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch

import sparselayers as sl
from sparsebench.measuring import hostlock, machine, timing

HEIGHTS = 4, 8, 16
FORWARD = "inference", "y"
FLOPS = {"inference": 2, "step": 6, "y": 2, "dx": 2, "dweights": 2}


def row_blocks(width: int, height: int, sparsity: float) -> sl.Connectivity:
    """Draw groups of `height` rows that share their columns."""
    few = sl.random((width // height, width), sparsity=sparsity)
    return sl.from_mask(few.mask().repeat_interleave(height, 0))


def layers(width: int, sparsity: float, dtype: torch.dtype) -> dict[str, torch.nn.Module]:
    """Return a dense layer, one of connections at random, and one for each height of blocks."""
    drawn = sl.random((width, width), sparsity=sparsity)
    found = {"dense": torch.nn.Linear(width, width, dtype=dtype)}
    found["random"] = sl.SparseLinear(width, width, connectivity=drawn, dtype=dtype)
    for height in HEIGHTS:
        blocks = row_blocks(width, height, sparsity)
        found[f"{height}x1"] = sl.SparseLinear(
            width, width, connectivity=blocks, dtype=dtype, backend="row_blocks"
        )
    return found


def calls(layer: torch.nn.Module, batch: int, products: tuple[str, ...]) -> dict[str, Callable]:
    """Return what computes each of the products of a batch."""
    dtype = next(layer.parameters()).dtype
    x = torch.randn(batch, layer.in_features).to(dtype).requires_grad_()
    dy = torch.randn(batch, layer.out_features).to(dtype)

    def gradients(x: torch.Tensor, *of: torch.Tensor) -> Callable:
        y = layer(x)
        return lambda: torch.autograd.grad(y, of, dy, retain_graph=True)

    def inference() -> None:
        with torch.no_grad():
            layer(x)

    def step() -> None:
        torch.autograd.grad(layer(x), (x, *layer.parameters()), dy)

    values = next(layer.parameters())
    found = {"inference": inference, "y": inference, "step": step}
    if "dx" in products:
        found["dx"] = gradients(x, x)
    if "dweights" in products:
        found["dweights"] = gradients(x.detach(), values)
    return {name: found[name] for name in products}


def report(product: str, point: dict, times: dict) -> str:
    """Say what each layer took, and how that compares."""
    density, flops = 1 - point["sparsity"], FLOPS[product] * point["width"] ** 2 * point["batch"]
    rate = {
        name: flops * (1 if name == "dense" else density) / min(each) / 1e9
        for name, each in times.items()
        if name != "sum"
    }
    said = [f"  {product:9s} dense {1e3 * min(times['dense']):.3f} ms {rate['dense']:.0f} GFLOP/s"]
    for name in (name for name in rate if name != "dense"):
        text = f"{name} {1e3 * min(times[name]):.3f} {rate[name]:.0f}"
        text += f" ({rate[name] / rate['dense']:.2f} dense"
        if name != "random":
            text += f", {rate[name] / rate['random']:.2f} random"
        if point["batch"] == 1 and product in FORWARD:
            text += f", {min(times['sum']) / min(times[name]):.2f} stream"
        said.append(text + ")")
    return "  ".join(said)


def main() -> None:
    """Measure the points that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64, 128, 512])
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.8, 0.9, 0.95])
    parser.add_argument("--products", nargs="+", default=["inference", "step"])
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each point and product")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    dtype = getattr(torch, given.dtype)
    with hostlock.measuring():
        for width in given.widths:
            for sparsity in given.sparsities:
                made = layers(width, sparsity, dtype)
                numbers_read = torch.randn(made["random"].weights.numel()).to(dtype)
                for batch in given.batches:
                    point = {"width": width, "sparsity": sparsity, "batch": batch}
                    print(point, flush=True)
                    tasks = {
                        name: calls(layer, batch, given.products) for name, layer in made.items()
                    }
                    found = {}
                    for product in given.products:
                        some = {name: task[product] for name, task in tasks.items()}
                        if batch == 1 and product in FORWARD:
                            some["sum"] = numbers_read.sum
                        times = found[product] = timing.single_calls(some, seconds=given.seconds)
                        print(report(product, point, times), flush=True)
                    if given.out:
                        record = point | {"dtype": given.dtype, "seconds": found}
                        record |= {"machine": machine.fingerprint()["cpu"]["model"]}
                        record |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
                        with given.out.open("a") as file:
                            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()

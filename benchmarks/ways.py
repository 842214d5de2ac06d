"""Dense against every way to compute on a CPU, product by product, in turns.

    python benchmarks/ways.py --widths 512 2048 --batches 1 16 128 --out ways.json

Prints milliseconds (the median of the rounds) and the ratio dense / way, and appends one JSON line
for each point to `--out`. `native` is what a layer takes, with what it costs to choose.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch

import sparselayers as sl
from sparsebench.measuring import hostlock, machine, timing
from sparselayers.backends import BACKENDS

WAYS = "lanes", "bitmaps", "panels", "amx", "native"


def products(width: int, sparsity: float, batch: int, dtype: torch.dtype) -> dict[str, Callable]:
    """Return what computes each product by each way, and densely, of one square layer."""
    layer = sl.SparseLinear(width, width, sparsity=sparsity, dtype=dtype)
    connectivity, values, bias = layer.connectivity, layer.weights.detach(), layer.bias.detach()
    weight = layer.weight.detach().to_dense()
    x, dy = torch.randn(2, batch, width).to(dtype)
    calls = {
        ("y", "dense"): lambda: torch.nn.functional.linear(x, weight, bias),
        ("dx", "dense"): lambda: dy @ weight,
        ("dweights", "dense"): lambda: dy.t() @ x,
    }
    for name in WAYS:
        way = BACKENDS[name]
        if not way.supports(x.device, dtype):
            continue

        def y(way=way):
            return way.forward(way.arrange(x, connectivity), values, bias, connectivity)

        def dx(way=way):
            return way.backward(dy, None, values, connectivity, needs=(True, False, False))

        def dweights(way=way):
            return way.backward(dy, x, values, connectivity, needs=(False, True, False))

        calls |= {("y", name): y, ("dx", name): dx, ("dweights", name): dweights}
    return calls


@torch.no_grad()
def main() -> None:
    """Measure the points that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 64, 128, 512])
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.5, 0.6, 0.7, 0.8, 0.9])
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each point")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with hostlock.measuring():
        for width in given.widths:
            for sparsity in given.sparsities:
                for batch in given.batches:
                    point = {"width": width, "sparsity": sparsity, "batch": batch}
                    calls = products(width, sparsity, batch, getattr(torch, given.dtype))
                    times = timing.single_calls(calls, seconds=given.seconds)
                    ms = {key: 1e3 * statistics.median(each) for key, each in times.items()}
                    print(point, flush=True)
                    for product in ("y", "dx", "dweights"):
                        dense = ms[product, "dense"]
                        ways = [
                            f"{name} {ms[product, name]:.3f} ({dense / ms[product, name]:.2f})"
                            for name in WAYS
                            if (product, name) in ms
                        ]
                        print(f"  {product:8s} dense {dense:.3f}  {'  '.join(ways)}", flush=True)
                    if given.out:
                        found = {f"{product} {name}": t for (product, name), t in times.items()}
                        record = point | {"dtype": given.dtype, "seconds": found}
                        record |= {"machine": machine.fingerprint()["cpu"]["model"]}
                        record |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
                        with given.out.open("a") as file:
                            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()

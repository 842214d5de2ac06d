"""Each of the three products by itself: GFLOP/s of ours, and of the dense matmul.

    python benchmarks/products.py results/reference/products/products.json

The sweeps time whole layers; here are y = x Wᵀ, dx = dy W and dvalues of the fastest backend, from
activations that are arranged already, and dense products of the same shapes, in turns. Only useful
operations count: 2 · nnz · batch a sparse product, 2 · in · out · batch a dense one.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch

import sparselayers as sl
from sparsebench.measuring import machine, timing
from sparselayers import backends

SHAPES = [(2048, 0.9, 128), (4096, 0.8, 128), (4096, 0.9, 128), (4096, 0.99, 128)]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--seconds", type=float, default=0.03, help="of a sample")
    given = arguments.parse_args()
    rows = [row for shape in SHAPES for row in measured(*shape, given.rounds, given.seconds)]
    found = {
        "taken": datetime.now(UTC).isoformat("T", "seconds"),
        "threads": torch.get_num_threads(),
        "rows": rows,
        "machine": machine.fingerprint(),
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print("| layer, batch | product | ours GFLOP/s | dense GFLOP/s | ours over dense |")
    print("|---|---|---|---|---|")
    for r in rows:
        where = f"{r['width']}², {r['sparsity']:.0%}, {r['batch']}"
        rates = f"{r['ours_gflops']:.0f} | {r['dense_gflops']:.0f} | {r['ratio']:.0%}"
        print(f"| {where} | {r['product']} | {rates} |")


def measured(width: int, sparsity: float, batch: int, rounds: int, seconds: float) -> list[dict]:
    """Return a row for each product: rates in GFLOP/s, and ours over dense."""
    torch.manual_seed(0)
    connectivity = sl.random((width, width), sparsity)
    values, weight = torch.randn(connectivity.nnz), torch.randn(width, width)
    x, dy = torch.randn(batch, width), torch.randn(batch, width)
    ours = backends.select(x.device, x.dtype, None)
    xa, dya = ours.arrange(x, connectivity), ours.arrange(dy, connectivity)
    calls: dict[tuple[str, str], Callable[[], object]] = {
        ("y", "ours"): lambda: ours.forward(xa, values, None, connectivity),
        ("y", "dense"): lambda: x @ weight.t(),
        ("dx", "ours"): lambda: ours.grad_input(dya, values, connectivity),
        ("dx", "dense"): lambda: dy @ weight,
        ("dvalues", "ours"): lambda: ours.grad_values(dya, xa, connectivity),
        ("dvalues", "dense"): lambda: dy.t() @ x,
    }
    found = timing.in_turns(calls, rounds=rounds, seconds=seconds)
    times = {what: taken.samples for what, taken in found.items()}
    work = {"ours": 2e-9 * connectivity.nnz * batch, "dense": 2e-9 * width * width * batch}
    rows = []
    for product in ("y", "dx", "dvalues"):
        rate = {side: work[side] / statistics.median(times[product, side]) for side in work}
        rows.append(
            {
                "width": width,
                "sparsity": sparsity,
                "batch": batch,
                "product": product,
                "ours_gflops": rate["ours"],
                "dense_gflops": rate["dense"],
                "ratio": rate["ours"] / rate["dense"],
                "samples": {side: times[product, side] for side in work},
            }
        )
    return rows


if __name__ == "__main__":
    main()

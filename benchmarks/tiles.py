"""Every tile of the Triton kernels timed: what `triton_kernels/tiles.py` is chosen by.

`python benchmarks/tiles.py OUT.jsonl`, on a GPU. For each shape and product it prints the fastest
tiles, in microseconds with a cold and a hot L2 cache, beside dense and cuSPARSE products; OUT has
them all.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ["SPARSEBENCH_TUNING"] = "off"

import torch
from torch import Tensor

import sparselayers as sl
from sparsebench.measuring import gpu
from sparselayers import Connectivity
from sparselayers.backends import BACKENDS, Backend
from sparselayers.backends.triton_kernels import launch_gather, ways
from sparselayers.backends.triton_kernels.tiles import Tile, candidates

Products = dict[str, Callable[[Backend], Tensor]]

DEVICE = torch.device("cuda")
CALLS = 7
SHAPES = [
    (2048, 0.9, 128), (2048, 0.99, 128), (2048, 0.9, 512), (4096, 0.9, 64), (4096, 0.95, 128),
    (4096, 0.99, 512), (8192, 0.9, 512), (8192, 0.95, 128), (8192, 0.99, 64), (8192, 0.99, 512),
    (20000, 0.99, 1), (4096, 0.9, 1),
]  # fmt: skip
MORE_WIDE = [
    (1, 4, 128, 1), (1, 8, 128, 1), (1, 8, 128, 2), (1, 4, 256, 4), (1, 4, 256, 2), (1, 8, 64, 1),
    (2, 4, 128, 2), (2, 8, 128, 4), (4, 4, 128, 4), (4, 4, 128, 8), (8, 4, 128, 8),
    (8, 4, 128, 16), (4, 8, 64, 4), (8, 4, 64, 8), (16, 4, 64, 8), (16, 4, 64, 16),
    (32, 2, 64, 16), (8, 8, 32, 8), (16, 4, 32, 8), (16, 8, 32, 16), (32, 4, 32, 16),
    (32, 8, 32, 32), (16, 8, 16, 8), (32, 8, 16, 16), (32, 8, 16, 32), (64, 8, 16, 32),
]  # fmt: skip
MORE_NARROW = [
    (1, 256, 4), (2, 256, 4), (4, 256, 8), (8, 256, 8), (8, 64, 2), (8, 64, 8), (16, 32, 2),
    (16, 32, 8), (32, 32, 8), (32, 16, 4), (64, 16, 8), (4, 128, 4), (4, 64, 2), (2, 512, 4),
]  # fmt: skip


def tiles(batch: int, degree: float) -> list[Tile]:
    found = list(candidates(batch, degree))
    if batch > 8:
        found += [Tile(*tile) for tile in MORE_WIDE if tile[2] <= batch]
    else:
        found += [Tile(rows, length, batch, warps) for rows, length, warps in MORE_NARROW]
    return list(dict.fromkeys(found))


def median_us(call: Callable[[], object], *, cold: bool) -> float:
    return 1e6 * statistics.median(gpu.of(DEVICE).seconds(call, CALLS, cold=cold))


def both(call: Callable[[], object]) -> tuple[float, float]:
    call()
    return median_us(call, cold=True), median_us(call, cold=False)


def products(shape: tuple[int, float, int]) -> tuple[Connectivity, Products]:
    """The three products of a layer of this shape, as functions of a backend."""
    width, sparsity, batch = shape
    connectivity = sl.random((width, width), sparsity).to(DEVICE)
    values, bias = (torch.randn(n, device=DEVICE) for n in (connectivity.nnz, width))
    x, dy = (torch.randn(width, batch, device=DEVICE).t() for _ in range(2))
    return connectivity, {
        "y": lambda backend: backend.forward(x, values, bias, connectivity),
        "dx": lambda backend: backend.grad_input(dy, values, connectivity),
        "dvalues": lambda backend: backend.grad_values(dy, x, connectivity),
    }


def others(width: int, batch: int, named: Products) -> Iterator[tuple[str, tuple[float, float]]]:
    """What there is to compare with: dense products, the copies that transpose, cuSPARSE."""
    weight = torch.randn(width, width, device=DEVICE)
    x = torch.randn(batch, width, device=DEVICE)
    yield "dense y", both(lambda: x @ weight.t())
    yield "dense dw", both(lambda: x.t() @ x)
    yield "transpose", both(lambda: x.t().contiguous())
    for name, product in named.items():
        yield f"csr {name}", both(partial(product, BACKENDS["csr"]))


def timed(
    product: Callable[[Backend], Tensor], connectivity: Connectivity, chosen: list[Tile]
) -> Iterator[tuple[Tile, tuple[float, float]]]:
    """The times of `product` with each tile."""
    for tile in chosen:
        launch_gather.candidates = lambda batch, degree, tile=tile: (tile,)
        for key in (ways.FORWARD, ways.TRANSPOSED):
            ways.matrix(connectivity, key).plans.clear()
        try:
            yield tile, both(partial(product, BACKENDS["triton_gather"]))
        except Exception as error:  # too large for the GPU, perhaps
            print(f"  {tuple(tile)}: {type(error).__name__}: {error}"[:200])


def main(out: Path) -> None:
    with out.open("a") as file:

        def keep(what: dict[str, Any], times: tuple[float, float]) -> None:
            cold, hot = (round(t, 2) for t in times)
            file.write(json.dumps(what | {"cold_us": cold, "hot_us": hot}) + "\n")

        for width, sparsity, batch in SHAPES:
            connectivity, named = products((width, sparsity, batch))
            shape = {"width": width, "sparsity": sparsity, "batch": batch}
            print(f"\n{width} {sparsity} batch {batch}", flush=True)
            for name, times in others(width, batch, named):
                print(f"  {name:10} {times[0]:.1f}/{times[1]:.1f}")
                keep(shape | {"product": name}, times)
            for name, product in named.items():
                every = dict(timed(product, connectivity, tiles(batch, connectivity.nnz / width)))
                for tile, times in every.items():
                    keep(shape | {"product": name, "tile": tile}, times)
                best = sorted(every.items(), key=lambda item: item[1][0])[:5]
                shown = (f"{tuple(tile)} {cold:.1f}/{hot:.1f}" for tile, (cold, hot) in best)
                print(f"  {name:10}", *shown, sep="  ", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Every tile of the Triton kernels timed: what `layers/backends/kernels/tiles.py` is chosen by.

`python benchmarks/tiles.py OUT.jsonl [--compile PART/PARTS]`, on a GPU. For each shape and product
it prints the fastest tiles with cold and hot L2 cache, in microseconds, beside dense and cuSPARSE
products; OUT has them all. With --compile it only compiles one part of the tiles, so that several
processes can do that side by side before times are taken.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["SPARSEBENCH_TUNING"] = "off"

import torch

import layers
from layers import accelerator
from layers.backends import BACKENDS
from layers.backends.kernels import launch, partition
from layers.backends.kernels.tiles import Tile, candidates

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
    return 1e6 * statistics.median(accelerator.of(DEVICE).seconds(call, CALLS, cold=cold))


def both(call: Callable[[], object]) -> tuple[float, float]:
    call()
    return median_us(call, cold=True), median_us(call, cold=False)


def main(out: Path, part: tuple[int, int] | None) -> None:
    launch_tile: list[Tile] = []
    launch.candidates = lambda batch, degree: (launch_tile[0],)  # type: ignore[assignment]
    backend, csr = BACKENDS["triton"], BACKENDS["csr"]
    with out.open("a") as file:
        for width, sparsity, batch in SHAPES:
            connectivity = layers.random((width, width), sparsity).to(DEVICE)
            values, bias = (torch.randn(n, device=DEVICE) for n in (connectivity.nnz, width))
            x, dy = (torch.randn(width, batch, device=DEVICE).t() for _ in range(2))
            products = {
                "y": lambda b: b.forward(x, values, bias, connectivity),
                "dx": lambda b: b.grad_input(dy, values, connectivity),
                "dvalues": lambda b: b.grad_values(dy, x, connectivity),
            }
            others: dict[str, tuple[float, float]] = {}
            if part is None:
                weight = torch.randn(width, width, device=DEVICE)
                plain = x.contiguous()
                others["dense y"] = both(lambda: plain @ weight.t())
                others["dense dw"] = both(lambda: plain.t() @ plain)
                others["transpose"] = both(lambda: plain.t().contiguous())
                del weight
                for name, product in products.items():
                    others[f"csr {name}"] = both(lambda: product(csr))
                print(f"\n{width} {sparsity} batch {batch}", *(
                    f"{name} {cold:.0f}/{hot:.0f}" for name, (cold, hot) in others.items()
                ), sep="; ", flush=True)
            for name, product in products.items():
                times: dict[Tile, tuple[float, float]] = {}
                for number, tile in enumerate(tiles(batch, connectivity.nnz / width)):
                    if part and number % part[1] != part[0]:
                        continue
                    launch_tile[:] = [tile]
                    for transposed in (False, True):
                        partition.partition(connectivity, transposed=transposed).tiles.clear()
                    try:
                        if part:
                            product(backend)
                        else:
                            times[tile] = both(lambda: product(backend))
                    except Exception as error:
                        print(f"  {name} {tuple(tile)}: {type(error).__name__}: {error}"[:200])
                shape = {"width": width, "sparsity": sparsity, "batch": batch, "product": name}
                for tile, (cold, hot) in times.items():
                    record = {"tile": tile, "cold_us": round(cold, 2), "hot_us": round(hot, 2)}
                    file.write(json.dumps(shape | record) + "\n")
                gathered = 4 * connectivity.nnz * batch
                best = sorted(times.items(), key=lambda item: item[1][0])[:5]
                print(f"  {name:8}", *(
                    f"{tuple(tile)} {cold:.1f}/{hot:.1f}" for tile, (cold, hot) in best
                ), f"{gathered / best[0][1][0] / 1e6:.2f} TB/s gathered" if best else "",
                    sep="  ", flush=True)  # fmt: skip
            for name, (cold, hot) in others.items():
                shape = {"width": width, "sparsity": sparsity, "batch": batch, "product": name}
                file.write(json.dumps(shape | {"cold_us": cold, "hot_us": hot}) + "\n")
            file.flush()
    if BACKENDS["triton"].broken:
        print(BACKENDS["triton"].broken)


if __name__ == "__main__":
    chosen = sys.argv[3].split("/") if len(sys.argv) > 3 else None
    main(Path(sys.argv[1]), (int(chosen[0]), int(chosen[1])) if chosen else None)

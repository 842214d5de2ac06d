"""How often the way that is chosen is not the fastest, and by how much.

    python benchmarks/choice.py --dtype bfloat16

Times every way for every product of layers of random connections, small and large, each some times
in a row, and asks calibrations of this machine, as many as `--calibrations` says, which way they
would take. Prints for each how many choices take more than 1.1 times as long as the fastest way,
the mean of all over the fastest, and the worst of the last.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import NamedTuple

import torch

from sparsebench.measuring import hostlock
from sparselayers.backends.native import calibration, choice
from sparselayers.backends.native.probe import PRODUCTS, Probe, Product, in_blocks

SHAPES = (
    *((64, 64), (64, 256), (256, 64), (128, 128), (256, 256), (512, 128), (128, 512)),  # small
    *((512, 512), (256, 1152), (1000, 300), (512, 2048), (2048, 512), (1024, 1024), (2048, 2048)),
)
DENSITIES = 0.5, 0.4, 0.3, 0.2, 0.1
BATCHES = 1, 4, 16, 64, 128, 512
SMALL = 256 * 256  # places
ROUNDS, IN_A_ROW = 4, 5
WRONG = 1.1


class Choices(NamedTuple):
    """The seconds of every way for one product of a batch."""

    shape: tuple[int, int]
    density: float
    nnz: int
    batch: int
    product: Product
    seconds: dict[str, float]

    def chosen(self, costs: calibration.Costs) -> str:
        """Return the way of the least estimate by these costs."""

        def estimate(way: str) -> float:
            points = costs.points(way, self.product)
            return choice.estimate(points, self.batch, self.shape[0] * self.shape[1], self.nnz)

        return min((way for way in self.seconds if way in costs.ways), key=estimate)

    def over_the_fastest(self, costs: calibration.Costs) -> float:
        """Return how many times as long as the fastest way the chosen one takes."""
        return self.seconds[self.chosen(costs)] / min(self.seconds.values())


def timed(shape: tuple[int, int], density: float, batch: int, dtype: torch.dtype) -> list[Choices]:
    """Return the times of all products of one layer."""
    probe = Probe(in_blocks(shape, density, 1), dtype)
    ways, _ = choice.ways_in_question(batch, probe.connectivity, dtype)
    calls = {
        (way, product): call
        for way in ways
        for product, call in probe.calls(calibration.WAYS[way], batch).items()
        if product != "backward"
    }
    times: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for _ in range(ROUNDS):
        for key, call in calls.items():
            for number in range(2 + IN_A_ROW):
                if number == 2:
                    start = time.perf_counter()
                call()
            times[key].append((time.perf_counter() - start) / IN_A_ROW)
    return [
        Choices(
            shape,
            density,
            probe.connectivity.nnz,
            batch,
            product,
            {way: statistics.median(times[way, product]) for way in ways},
        )
        for product in PRODUCTS
        if product != "backward"
    ]


@torch.no_grad()
def main() -> None:
    """Measure, and print what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--calibrations", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    dtype = getattr(torch, given.dtype)
    with hostlock.measuring():
        calibration.costs(dtype)  # for how much work there are threads
        found = [
            each
            for shape in SHAPES
            for density in DENSITIES
            for batch in BATCHES
            for each in timed(shape, density, batch, dtype)
            if len(each.seconds) > 1
        ]
        for _ in range(given.calibrations):
            costs = calibration.measure(dtype)
            over = [each.over_the_fastest(costs) for each in found]
            wrong = [each for each, times in zip(found, over, strict=True) if times > WRONG]
            small = sum(each.shape[0] * each.shape[1] <= SMALL for each in wrong)
            print(
                f"calibrated in {costs.seconds:.2f} s: {len(wrong)} of {len(found)} wrong, {small} "
                f"of them small; in the mean {statistics.mean(over):.3f} of the fastest",
                flush=True,
            )
    for each in sorted(wrong, key=lambda each: -each.over_the_fastest(costs))[:10]:
        chosen = each.chosen(costs)
        fastest = min(each.seconds, key=lambda way, each=each: each.seconds[way])
        print(
            f"{each.shape[0]} x {each.shape[1]}, {each.density:.0%} connected, batch {each.batch}, "
            f"{each.product}: {chosen} {1e6 * each.seconds[chosen]:.0f} us, "
            f"{fastest} {1e6 * each.seconds[fastest]:.0f}"
        )


if __name__ == "__main__":
    main()

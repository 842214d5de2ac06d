"""What the ways to compute cost on this machine: measured once, in half a second, and kept.

Steps of a layer, forward and backward, are made by every way at two densities, and of a tiny one:
so a way's time for a place of the weight, that for a connection and that for a call are told apart.
Ways take turns, each a few steps in a row: as one takes over it has to fetch what the others drove
out of the caches, which takes small products several times as long as they take in use. Row blocks
are measured on layers that have them, of the least height, N of every M inputs on layers of a half
and a quarter of them, at the batches that they are for. How much work several threads are worth
starting for is found on layers of few outputs: it depends on how far the cores are from each other.
The least of several times counts, for what else a machine does only ever adds to it. What was found
is kept in a file of the user's cache, by CPU, instruction set, PyTorch, threads and type; where
platformdirs is not installed, which knows that place, or the file cannot be written, each process
measures anew. So it does where other work had the cores meanwhile: then the costs of `costs.json`
serve.

`SPARSEBENCH_CALIBRATION=off` takes the costs of `costs.json`, the same on every machine.
"""

from __future__ import annotations

import json
import math
import os
import platform
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sparselayers.backends import kept
from sparselayers.backends.base import Backend
from sparselayers.backends.native import library
from sparselayers.backends.native.amx import Amx
from sparselayers.backends.native.bitmaps import Bitmaps
from sparselayers.backends.native.lanes import Lanes
from sparselayers.backends.native.n_of_m import MOST, NOfEight, NOfFour
from sparselayers.backends.native.panels import Panels
from sparselayers.backends.native.probe import PRODUCTS, Probe, Product, Step, in_blocks, in_groups
from sparselayers.backends.native.row_blocks import RowBlocks
from sparselayers.cores import cores_left
from sparselayers.structures.row_blocks import HEIGHTS

Way = str
WAYS: dict[Way, Backend] = {
    way.name: way
    for way in (Lanes(), Bitmaps(), Panels(), Amx(), RowBlocks(), NOfFour(), NOfEight())
}

VARIABLE = "SPARSEBENCH_CALIBRATION"
_FORMAT = 14  # to be raised where a way is new, or changes so much that old costs mislead

_CPU = torch.device("cpu")
_SHAPE = 512, 1024
_TINY = 32, 64
_DENSITIES = 0.5, 0.2
_BATCHES = 1, 4, 16, 128, 512
_MOST = {NOfFour.name: MOST, NOfEight.name: MOST}  # of a batch, for ways that serve no larger one
_SECONDS = 0.25  # for all of it: no round begins later
_ROUNDS = 7
_IN_A_ROW = 5  # steps of a way before it is another's turn; but one where it takes longer than
_A_ROW = 2e-3  # seconds
_TRIES = 2  # while other work has the cores
# How often a thread may have to leave its core: in a second, and at any rate. Nobody's on two cores
# that are free: 20; beside two others that want them: 120.
_LEFT, _LEFT_ANYWAY = 60.0, 20
_CLEARLY = 1.2  # times as long as on one thread: work is not left to one for less
# With 1024 inputs, of which each output has 51, and so few rows that no thread has any of its own.
_OF_FEW_OUTPUTS, _FEW_INPUTS, _TOGETHER = (192, 384, 768, 1536), (1024, 0.05), 16
_HOPELESS = 6.0  # times as slow as the lanes at a batch of several: not tried at larger ones


class Point(NamedTuple):
    """The seconds that a place, a connection and a call cost at a batch."""

    batch: int
    place: float
    connection: float
    call: float = 0.0


@dataclass(frozen=True)
class Costs:
    """The costs of every way and product by batch, where they are from, and the time they took.

    `alone` is the work below which a product is faster on one thread than on all: see library.py.
    """

    found: dict[Way, dict[Product, list[Point]]]
    source: str
    seconds: float
    alone: float = 0.0

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways that were measured."""
        return tuple(self.found)

    def points(self, way: Way, product: Product) -> list[Point]:
        """The costs of one product, by ascending batch."""
        return self.found[way][product]


def costs(dtype: torch.dtype) -> Costs:
    """Return what the ways cost for values of `dtype` (float32 or bfloat16), measured if need be.

    Raises ValueError where the environment variable says neither "on" nor "off".
    """
    wanted = os.environ.get(VARIABLE, "on")
    if wanted not in ("on", "off"):
        raise ValueError(f"{VARIABLE}={wanted}: choose on or off")
    if wanted == "off":
        return _elsewhere(dtype)
    return _CALIBRATION.costs(dtype)


class Calibration:
    """Costs that are measured when they are first asked for, and kept in `file`."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._known: dict[str, Costs] = {}
        self._lock = threading.Lock()
        self.measured = 0  # how often this process measured

    @property
    def path(self) -> Path | None:
        """The file that keeps what was found, if there is a place for one."""
        return self._file or kept.of_the_user("cpu-costs.json")

    def costs(self, dtype: torch.dtype) -> Costs:
        """Return the costs for `dtype` with the threads that PyTorch uses now."""
        threads = torch.get_num_threads()
        short = f"{threads} {dtype}"
        if (known := self._known.get(short)) is not None:
            return known
        with self._lock:
            key = _key(dtype)
            found = self.stored().get(key)
            if found is None:
                found = self._measured(dtype, key, threads)
            library.leave_alone(threads, dtype, found.alone)
            self._known[short] = found
            return found

    def _measured(self, dtype: torch.dtype, key: str, threads: int) -> Costs:
        """Measure and keep what was found; where others had the cores, which costs some ways more
        than others, take what is known of another machine, for this process alone.
        """
        for _ in range(_TRIES):
            before, start = cores_left(), time.perf_counter()
            found = measure(dtype)
            self.measured += 1
            seconds = time.perf_counter() - start
            if cores_left() - before <= _LEFT * threads * seconds + _LEFT_ANYWAY:
                self._save(key, found)
                return found
        known = _elsewhere(dtype)
        return replace(known, source=f"{known.source}: here other work had the cores")

    def stored(self) -> dict[str, Costs]:
        """Return what earlier processes found; a file that cannot be read counts as empty."""
        return kept.read(self.path, _read)

    def _save(self, key: str, found: Costs) -> None:
        """Write all that is known, whole or not at all; a cache that cannot be written is none."""
        known = self.stored() | {key: found}  # other processes may have added some
        kept.write(self.path, {k: _written(costs) for k, costs in known.items()})


_CALIBRATION = Calibration()


def stored() -> dict[str, Costs]:
    """Return what is kept in the user's cache, of this machine and of others."""
    return _CALIBRATION.stored()


def path() -> Path | None:
    """Return the file that keeps it."""
    return _CALIBRATION.path


def batches(way: Way) -> tuple[int, ...]:
    """Return at which batches a way is measured."""
    return tuple(batch for batch in _BATCHES if batch <= _MOST.get(way, batch))


def passing(shape: tuple[int, int]) -> float:
    """Return how many places cost the lanes as much as what they do beside connections.

    They pass over in- and outputs, whatever places there are: in the one shape that is measured as
    much as its places, in a larger one less of them. Small ones stay in the caches.
    """
    return min(math.prod(shape), sum(shape) * math.prod(_SHAPE) / sum(_SHAPE))


def measure(dtype: torch.dtype) -> Costs:
    """Measure every way, in turns, for `_SECONDS` at most."""
    start = time.perf_counter()
    shapes, densities = (_SHAPE, _SHAPE, _TINY), (*_DENSITIES, min(_DENSITIES))
    with torch.random.fork_rng([]), torch.no_grad():
        plain, blocks = (
            [
                Probe(in_blocks(shape, density, height), dtype)
                for shape, density in zip(shapes, densities, strict=True)
            ]
            for height in (1, min(HEIGHTS))
        )
        groups = {
            way.name: [
                Probe(in_groups(shape, n, way.m), dtype)
                for shape, n in zip(shapes, (*reversed(way.n), min(way.n)), strict=True)
            ]
            for way in (NOfFour, NOfEight)
        }
    usable = [way for way in WAYS if way != Amx.name or WAYS[way].supports(_CPU, dtype)]
    probes = dict.fromkeys(WAYS, plain) | {RowBlocks.name: blocks} | groups
    found: dict[Way, dict[Product, list[Point]]] = {
        way: {p: [] for p in PRODUCTS} for way in usable
    }
    for number, batch in enumerate(_BATCHES):
        share = (number + 1) / len(_BATCHES)
        ways = [way for way in usable if len(found[way]["y"]) == number and batch in batches(way)]
        steps = {
            (way, i): probes[way][i].step(WAYS[way], batch)
            for i in range(len(shapes))
            for way in ways
        }
        times = _least(steps, start + _SECONDS * share)
        for way in ways:
            for product in PRODUCTS:
                seconds = [times[way, i][product] for i in range(len(shapes))]
                found[way][product].append(_point(batch, probes[way], seconds))
            if batch > 1 and _all(times[way, 0]) > _HOPELESS * _all(times["lanes", 0]):
                found[way]["y"].pop()  # it is not tried further
    whole = {way: points for way, points in found.items() if len(points["y"]) == len(batches(way))}
    alone = _alone(dtype)
    return Costs(whole, "measured on this machine", round(time.perf_counter() - start, 3), alone)


def _least(steps: dict[Any, Step], until: float) -> dict[Any, dict[Product, float]]:
    """Return the least time of every part of each step, in rounds that take all in turn."""
    least = {key: dict.fromkeys(step, math.inf) for key, step in steps.items()}
    with torch.no_grad():
        for step in steps.values():
            for call in step.values():
                call()  # which makes what is derived from the connections
        for number in range(_ROUNDS):
            if number and time.perf_counter() > until:
                break
            for key, step in steps.items():
                _in_a_row(step, least[key])
    return least


def _in_a_row(step: Step, least: dict[Product, float]) -> None:
    """Make a step some times, and keep what its parts take at the least."""
    begin = start = time.perf_counter()
    for number in range(_IN_A_ROW):
        if number and begin - start > _A_ROW:
            break
        for name, call in step.items():
            call()
            end = time.perf_counter()
            least[name] = min(least[name], end - begin)
            begin = end


def _alone(dtype: torch.dtype) -> float:
    """Return from how much work on one thread is not clearly faster, x arranged for each call."""
    threads = torch.get_num_threads()
    if threads == 1:
        return 0.0
    try:
        slower = _slower_on_all(threads, dtype)
    finally:
        library.leave_alone(threads, dtype, 0.0)
    return min(math.sqrt(2) * slower, library.ALONE_AT_MOST)


def _slower_on_all(threads: int, dtype: torch.dtype) -> float:
    """Return the most work of some that all threads take clearly longer for than one."""
    batch, slower = _TOGETHER, 0.0
    for outputs in _OF_FEW_OUTPUTS:
        with torch.random.fork_rng([]):
            inputs, density = _FEW_INPUTS
            layer = Probe(in_blocks((outputs, inputs), density, 1), dtype)
        call = layer.step(WAYS["lanes"], batch)["y"]

        def on(work: float, call: Callable[[], Any] = call) -> None:
            library.leave_alone(threads, dtype, work)
            call()

        # Not in turns: a call on one thread would have to fetch what one on all has left elsewhere.
        of_all, of_one = (
            _least({work: {"y": partial(on, work)}}, math.inf)[work]["y"]
            for work in (0.0, math.inf)
        )
        if of_all < _CLEARLY * of_one:
            break
        slower = float(library.work_of_product(batch, layer.connectivity.nnz))
    return slower


def _point(batch: int, layers: list[Probe], seconds: list[float]) -> Point:
    """Return the costs that explain the times of two layers of one shape and of a tiny one."""
    many, few, tiny = (layer.connectivity for layer in layers)
    places, places_of_tiny = math.prod(many.shape), math.prod(tiny.shape)
    connection = max(0.0, (seconds[0] - seconds[1]) / (many.nnz - few.nnz))
    more = seconds[0] - seconds[2] - connection * (many.nnz - tiny.nnz)
    place = max(0.0, more / (places - places_of_tiny))
    call = max(0.0, seconds[2] - place * places_of_tiny - connection * tiny.nnz)
    return Point(batch, place, connection, call)


def _all(times: dict[Product, float]) -> float:
    return times["y"] + times["backward"]


def _key(dtype: torch.dtype) -> str:
    return " | ".join(
        (
            str(_FORMAT),
            _cpu_name(),
            library.isa()[0],
            f"torch {torch.__version__}",
            f"{torch.get_num_threads()} threads",
            str(dtype).removeprefix("torch."),
        )
    )


def _cpu_name() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        keys = "model name", "cpu family", "model", "stepping"
        about = dict(line.split(":", 1) for line in lines[: lines.index("")] if ":" in line)
        named = {name.strip(): value.strip() for name, value in about.items()}
        return " ".join(named[key] for key in keys if key in named)
    return platform.processor() or platform.machine()


def _written(costs: Costs) -> dict[str, Any]:
    return {"found": costs.found, "seconds": costs.seconds, "alone": costs.alone}


def _read(written: dict[str, Any]) -> Costs:
    found = {
        way: {product: [Point(*point) for point in points] for product, points in products.items()}
        for way, products in written["found"].items()
        if way in WAYS
    }
    seconds, alone = float(written["seconds"]), float(written.get("alone", 0.0))
    return Costs(found, "measured on this machine", seconds, alone)


@cache
def _elsewhere(dtype: torch.dtype) -> Costs:
    read = json.loads(Path(__file__).with_name("costs.json").read_text())
    found = read["costs"][str(dtype).removeprefix("torch.")]
    ns = 1e-9
    return Costs(
        {
            way: {
                product: [Point(batch, ns * place, ns * each) for batch, place, each in points]
                for product, points in products.items()
            }
            for way, products in found.items()
        },
        f"measured on {read['source']}",
        0.0,
    )

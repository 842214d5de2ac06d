"""Measure one ScaleCase in this process: build, use, train, rewire, save and load one layer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from sparsebench.measuring import memory
from sparsebench.scale.records import Cost, ScaleCase, Stage
from sparselayers import SET, RigL, SparseLinear, files
from sparselayers.dynamic import Rewirer

T = TypeVar("T")

ENOUGH = 1.0  # seconds: a stage is repeated until it has taken so long, at least LEAST times
LEAST = 3
# RigL looks at every place of the matrix: what it costs grows with the square of the width.
RIGL_PLACES = 10**9
_CHUNK = 1 << 26


def measure(case: ScaleCase, folder: Path) -> dict[str, Any]:
    """Return the fields of a record that are measured; files are written to `folder`."""
    torch.set_num_threads(case.threads)
    _Run(ScaleCase(width=64, per_output=4, batch=case.batch, threads=case.threads), folder).all()
    return _Run(case, folder).all()


class _Run:
    def __init__(self, case: ScaleCase, folder: Path) -> None:
        self.case, self.path = case, folder / "layer.safetensors"
        self.costs: dict[Stage, Cost] = {}
        self.base = memory.held("cpu")
        self.methods: dict[str, None] = {}

    def all(self) -> dict[str, Any]:
        """Go through all stages."""
        generator = torch.Generator().manual_seed(self.case.seed)
        layer = self.stage("construction", lambda: _build(self.case, generator), least=1)
        self.use(layer, generator)
        layer.zero_grad()
        # Not of a state dict: the layer keeps what it shows until it is used again.
        arrays = _bytes(layer)
        self.save(layer)
        del layer
        self.load()
        return {"costs": self.costs, "arrays": arrays, "memory_method": ", ".join(self.methods)}

    def use(self, layer: SparseLinear, generator: torch.Generator) -> None:
        """Measure what is done with a layer in memory."""
        batch, width = self.case.batch, self.case.width
        x, dy = (torch.randn(batch, width, generator=generator) for _ in range(2))
        with torch.no_grad():
            self.stage("inference", lambda: layer(x) is None)
        optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3, momentum=0.9)

        def step() -> None:
            optimizer.zero_grad()
            layer(x).backward(dy)
            optimizer.step()

        self.stage("training step", step)
        self.rewire("SET", SET(layer, optimizer, update_every=1, stop_after=10**9), step)
        if width**2 <= RIGL_PLACES:
            self.rewire("RigL", RigL(layer, optimizer, update_every=1, stop_after=10**9), step)

    def stage(
        self, name: Stage, call: Callable[[], T], *, least: int = LEAST, maps: bool = False
    ) -> T:
        """Call it for its memory, then time it again and again; return what it returned first.

        Where it `maps` files, what it reads of them counts, and not what it maps.
        """
        made: list[T] = []
        peak, held = self._peak(lambda: made.append(call()), maps=maps)
        samples: list[float] = []
        while len(samples) < least or (sum(samples) < ENOUGH and len(samples) < 1000):
            start = time.perf_counter()
            again = call()
            samples.append(time.perf_counter() - start)
            del again  # so that two layers exist only while a second one is being built
        self.costs[name] = Cost(samples=samples, peak=peak, held=held)
        return made[0]

    def rewire(self, name: Stage, rewirer: Rewirer, step: Callable[[], None]) -> None:
        """Measure the rewiring that follows a step of the optimizer."""
        step()
        peak, held = self._peak(rewirer.step)
        samples: list[float] = []
        while not samples or (sum(samples) < ENOUGH and len(samples) < 100):
            step()
            start = time.perf_counter()
            rewirer.step()
            samples.append(time.perf_counter() - start)
        self.costs[name] = Cost(samples=samples, peak=peak, held=held)

    def _peak(self, call: Callable[[], object], *, maps: bool = False) -> tuple[int, int]:
        """Call it, and return how far memory rose above the process, and what is held afterwards.

        Looking takes time: what is timed is called again.
        """
        before = memory.held("cpu")
        if maps:
            rise, method = memory.resident_peak(call)
        else:
            rise, method = memory.peak(call, "cpu")
        self.methods[f"{method} of files" if maps else method] = None
        return before - self.base + rise, memory.held("cpu") - self.base

    def save(self, layer: SparseLinear) -> None:
        """Measure saving to disk, and beside it writing as many bytes plainly."""
        self.stage("save", lambda: files.save(layer, self.path), least=1, maps=True)
        plain = self.path.with_suffix(".plain")
        start = time.perf_counter()
        with plain.open("wb") as file:
            file.write(layer.weights.detach().numpy().data)
            file.write(layer.col.numpy().data)
            file.flush()
            os.fsync(file.fileno())
        self._beside("save", time.perf_counter() - start)
        plain.unlink()

    def load(self) -> None:
        """Measure loading from disk, every array read, and beside it reading the file plainly."""

        def load() -> None:
            _out_of_cache(self.path)
            start = time.perf_counter()
            layer = files.load(self.path)
            float(layer.weights.detach().sum())
            elapsed.append(time.perf_counter() - start)

        elapsed: list[float] = []
        self.stage("load", load, least=1, maps=True)
        timed = {"samples": elapsed[1:]}  # the first was looked at
        self.costs["load"] = self.costs["load"].model_copy(update=timed)
        _out_of_cache(self.path)
        buffer = bytearray(_CHUNK)
        start = time.perf_counter()
        with self.path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
        self._beside("load", time.perf_counter() - start)
        self.path.unlink()

    def _beside(self, name: Stage, seconds: float) -> None:
        self.costs[name] = self.costs[name].model_copy(update={"compared": seconds})


def _build(case: ScaleCase, generator: torch.Generator) -> SparseLinear:
    sparsity = 1.0 - case.per_output / case.width
    return SparseLinear(case.width, case.width, sparsity=sparsity, generator=generator)


def _bytes(layer: SparseLinear) -> int:
    return sum(array.nbytes for array in (*layer.connectivity.arrays, *layer.parameters()))


def _out_of_cache(path: Path) -> None:
    """Have the next reader read `path` from the disk."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

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
        kept = (*layer.connectivity.arrays, *layer.parameters())
        arrays = sum(array.nbytes for array in kept)
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
        """Repeat `call`, and note its times and memory; return what it returned first.

        Where it `maps` files, what it reads of them counts, and not what it maps.
        """
        samples: list[float] = []
        made: list[T] = []

        def timed() -> None:
            start = time.perf_counter()
            result = call()
            samples.append(time.perf_counter() - start)
            made.append(result)

        before = memory.held("cpu")
        if maps:
            rise, method = memory.resident_peak(timed)
        else:
            rise, method = memory.peak(timed, "cpu", alone=False)
        self.methods[f"{method} of files" if maps else method] = None
        self.costs[name] = Cost(
            samples=samples, peak=before - self.base + rise, held=memory.held("cpu") - self.base
        )
        while len(samples) < least or (sum(samples) < ENOUGH and len(samples) < 1000):
            timed()
            del made[1:]  # so that two layers exist only while a second one is being built
        return made[0]

    def rewire(self, name: Stage, rewirer: Rewirer, step: Callable[[], None]) -> None:
        """Measure the rewiring that follows a step of the optimizer."""
        samples: list[float] = []

        def timed() -> None:
            start = time.perf_counter()
            rewirer.step()
            samples.append(time.perf_counter() - start)

        step()
        before = memory.held("cpu")
        rise, _ = memory.peak(timed, "cpu", alone=False)
        self.costs[name] = Cost(
            samples=samples, peak=before - self.base + rise, held=memory.held("cpu") - self.base
        )
        while sum(samples) < ENOUGH and len(samples) < 100:
            step()
            timed()

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
        self.costs["load"] = self.costs["load"].model_copy(update={"samples": elapsed})
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


def _out_of_cache(path: Path) -> None:
    """Have the next reader read `path` from the disk."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

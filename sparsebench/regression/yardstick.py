"""The yardstick: what one fresh process measures of the layers, and the workloads that matter.

It is run as a script by the environment of any revision, and prints one line of JSON. It needs
torch, and of the project nothing but the public names of the library: so the same yardstick
measures both sides, however old one of them is. A workload that a revision does not have yet is
said to have failed there, and costs nothing else.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from timeit import Timer
from typing import Any

import torch
from torch import Tensor, nn

Step = Callable[[], object]
OURS, DENSE, CSR = "ours", "dense", "torch_csr"

SAMPLE_S = 2e-3  # shorter calls are timed several at once
PASSES = 5  # over all workloads: what disturbs for a moment spoils one pass of a few
LEAST_SAMPLES = 2  # in a pass
_LEARNING_RATE = 1e-6
_MMAP_THRESHOLD = -3  # mallopt(3)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A piece of work: `make` returns one call of it by ours or one of `rivals`.

    `threads` is None for all that there are. Where `memory` is set, the bytes are measured too
    that building it and one call take at their peak.
    """

    make: Callable[[str], Step]
    rivals: tuple[str, ...] = ()
    threads: int | None = 1
    memory: bool = False


def _library() -> Any:
    """Return the library of this revision, which was called `layers` once.

    A folder `sparselayers` with kernels alone, which an editable installation leaves, is none.
    """
    with suppress(ImportError):
        found = import_module("sparselayers")
        if found.__file__ is not None:
            return found
    return import_module("layers")


def linear(
    in_features: int, out_features: int, sparsity: float, batch: int, *, train: bool
) -> Callable[[str], Step]:
    """A layer with bias: the output, or a training step (all gradients and a step of SGD)."""

    def make(kind: str) -> Step:
        sl = _library()

        drawn = _generator()
        layer: nn.Module
        if kind == DENSE:
            layer = nn.Linear(in_features, out_features)
        else:
            layer = sl.SparseLinear(in_features, out_features, sparsity=sparsity, generator=drawn)
        if kind == CSR:
            layer = _CSRLinear(layer.weight, layer.bias)
        return _step(layer, torch.randn(batch, in_features, generator=drawn), train)

    return make


def conv(channels: int, sparsity: float, batch: int, size: int) -> Callable[[str], Step]:
    """A training step of a 3 × 3 convolution over images of `size` × `size`."""

    def make(kind: str) -> Step:
        sl = _library()

        drawn = _generator()
        layer: nn.Module
        if kind == OURS:
            layer = sl.SparseConv2d(channels, channels, 3, padding=1, sparsity=sparsity)
        else:
            layer = nn.Conv2d(channels, channels, 3, padding=1)
        return _step(layer, torch.randn(batch, channels, size, size, generator=drawn), True)

    return make


def winners(features: int, batch: int) -> Callable[[str], Step]:
    """Output and gradient of k-winners."""

    def make(kind: str) -> Step:
        sl = _library()

        x = torch.randn(batch, features, generator=_generator())
        return _step(sl.KWinners(sparsity=0.9) if kind == OURS else nn.ReLU(), x, True)

    return make


def rewiring(features: int, sparsity: float) -> Callable[[str], Step]:
    """Move 30% of a layer's connections to random places, with the momentum of SGD."""

    def make(kind: str) -> Step:
        sl = _library()

        del kind
        layer = sl.SparseLinear(features, features, sparsity=sparsity, generator=_generator())
        model = nn.Sequential(layer)
        optimizer = torch.optim.SGD(model.parameters(), lr=_LEARNING_RATE, momentum=0.9)
        model(torch.randn(1, features)).sum().backward()
        optimizer.step()
        rewirer = sl.SET(model, optimizer, update_every=1, stop_after=10**9, generator=_generator())

        def step(model: nn.Module = model) -> None:  # the rewirer does not keep it alive
            optimizer.step()  # what it does not take does not count
            rewirer.step()

        return step

    return make


def construction(features: int, sparsity: float) -> Callable[[str], Step]:
    """Draw a layer's connections and build it."""

    def make(kind: str) -> Step:
        sl = _library()

        del kind
        drawn = _generator()
        return lambda: sl.SparseLinear(features, features, sparsity=sparsity, generator=drawn)

    return make


def gpu_host(features: int, batch: int) -> Callable[[str], Step]:
    """What the host does for a training step on a GPU: launches do nothing (see launches.py)."""

    def make(kind: str) -> Step:
        sl = _library()
        # By its path: a revision that is compared with has none.
        where = Path(__file__).with_name("launches.py")
        spec = importlib.util.spec_from_file_location("yardstick_launches", where)
        assert spec is not None
        assert spec.loader is not None
        launches = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(launches)
        launches.install()
        layer: nn.Module = nn.Linear(features, features)
        if kind == OURS:
            layer = sl.SparseLinear(features, features, sparsity=0.9, backend="triton")
        return _step(layer, torch.randn(batch, features, generator=_generator()), True)

    return make


BOTH = (DENSE, CSR)
WORKLOADS: dict[str, Workload] = {
    "overhead-inference": Workload(make=linear(16, 16, 0.9, 1, train=False), rivals=(DENSE,)),
    "overhead-training": Workload(make=linear(16, 16, 0.9, 1, train=True), rivals=(DENSE,)),
    "inference-2048-90%-b1": Workload(make=linear(2048, 2048, 0.9, 1, train=False), rivals=BOTH),
    "inference-1024-80%-b16": Workload(make=linear(1024, 1024, 0.8, 16, train=False), rivals=BOTH),
    "inference-1024-90%-b128": Workload(
        make=linear(1024, 1024, 0.9, 128, train=False), rivals=BOTH
    ),
    "training-2048-90%-b1": Workload(make=linear(2048, 2048, 0.9, 1, train=True), rivals=BOTH),
    "training-784-2000-90%-b64": Workload(make=linear(784, 2000, 0.9, 64, train=True), rivals=BOTH),
    "training-1024-90%-b128": Workload(make=linear(1024, 1024, 0.9, 128, train=True), rivals=BOTH),
    # The clock on the wall, which others' work moves too: compared with itself alone.
    "training-1024-90%-b128-mt": Workload(
        make=linear(1024, 1024, 0.9, 128, train=True), threads=None
    ),
    "training-2048-99%-b128": Workload(make=linear(2048, 2048, 0.99, 128, train=True), rivals=BOTH),
    "training-4096-95%-b16": Workload(
        make=linear(4096, 4096, 0.95, 16, train=True), rivals=BOTH, memory=True
    ),
    "training-conv-64-90%-b8": Workload(make=conv(64, 0.9, 8, 16), rivals=(DENSE,), memory=True),
    "kwinners-2000-b64": Workload(make=winners(2000, 64)),
    "rewiring-1024-90%": Workload(make=rewiring(1024, 0.9)),
    "construction-2048-99%": Workload(make=construction(2048, 0.99)),
}
if importlib.util.find_spec("triton") is not None:
    WORKLOADS["gpu-host-training"] = Workload(make=gpu_host(16, 16), rivals=(DENSE,))


class Bench:
    """One workload, made ready: its kinds are timed in turn, in passes.

    On one thread a call's time is the processor's time of that thread: what others do with the
    core meanwhile is not the call's. On several threads it is what the clock on the wall says,
    because that is where working in parallel shows.
    """

    def __init__(self, name: str, kinds: Sequence[str]) -> None:
        workload = WORKLOADS[name]
        self._threads = workload.threads or _ALL_THREADS
        clock = time.thread_time if self._threads == 1 else time.perf_counter
        torch.set_num_threads(self._threads)
        self._timers = {kind: Timer(workload.make(kind), timer=clock) for kind in kinds}
        self._calls = {kind: _warmed_up(timer) for kind, timer in self._timers.items()}
        self._passes: dict[str, list[float]] = {kind: [] for kind in kinds}

    def take(self, seconds: float) -> None:
        """Take samples of every kind for about `seconds` each, and two at the least."""
        torch.set_num_threads(self._threads)
        for timer in self._timers.values():
            timer.timeit(1)  # another workload has had the caches
        samples: dict[str, list[float]] = {kind: [] for kind in self._timers}
        taken, end = 0, time.perf_counter() + seconds * len(self._timers)
        while taken < LEAST_SAMPLES or time.perf_counter() < end:
            for kind, timer in self._timers.items():
                samples[kind].append(timer.timeit(self._calls[kind]) / self._calls[kind])
            taken += 1
        for kind, own in samples.items():
            self._passes[kind].append(statistics.median(own))

    def medians(self) -> dict[str, float]:
        """Return the seconds of a call for each kind: the median of the least disturbed pass.

        What others do on the machine only ever adds to a time.
        """
        return {kind: min(medians) for kind, medians in self._passes.items()}


def peaks(names: Sequence[str], kinds: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return the bytes that building and one call take at most; nothing where Linux is not.

    They are taken in a process forked from this one before it computed anything: its heap is
    fresh, and what is done to it for this is not done to the times.
    """
    receive, send = os.pipe()
    if (child := os.fork()) == 0:
        with os.fdopen(send, "w") as answer:
            answer.write(json.dumps(_peaks(names, kinds)))
            answer.flush()
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    found: dict[str, dict[str, int]] = json.loads(text or "{}")
    return found


def _peaks(names: Sequence[str], kinds: Sequence[str]) -> dict[str, dict[str, int]]:
    torch.set_num_threads(1)
    with suppress(OSError, AttributeError):  # not glibc
        # Large blocks are mapped, and go back when they are freed: none is used again unseen.
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 1 << 16)
    found: dict[str, dict[str, int]] = {}
    for kind in kinds:
        with suppress(Exception):  # the first ones load code
            linear(64, 64, 0.9, 4, train=True)(kind)()
            conv(8, 0.9, 2, 8)(kind)()
        for name in names:
            with suppress(Exception):  # it has no time either, which says why
                found.setdefault(name, {})[kind] = _peak(WORKLOADS[name].make, kind)
    return found


def _peak(make: Callable[[str], Step], kind: str) -> int:
    """Raise OSError where the system does not say."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the high-water mark
    before = _high_water()
    make(kind)()
    return max(0, _high_water() - before)


def run(names: Sequence[str], seconds: float, *, rivals: bool) -> dict[str, Any]:
    """Measure everything once: {"times": {name: {kind: seconds}}, "memory": …, "failed": …}."""
    sized = [name for name in names if WORKLOADS[name].memory]
    memory = peaks(sized, (OURS, DENSE) if rivals else (OURS,)) if sized else {}
    benches: dict[str, Bench] = {}
    failed: dict[str, str] = {}
    for name in names:
        try:
            benches[name] = Bench(name, (OURS, *WORKLOADS[name].rivals) if rivals else (OURS,))
        except Exception as error:  # whatever it is, the other workloads go on
            failed[name] = f"{type(error).__name__}: {error}"[:300]
    for _ in range(PASSES):
        for bench in benches.values():
            bench.take(seconds / PASSES)
    times = {name: bench.medians() for name, bench in benches.items()}
    return {"times": times, "memory": memory, "failed": failed}


_ALL_THREADS = torch.get_num_threads()


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class _CSRLinear(nn.Module):
    """A weight that is a tensor of PyTorch's own, in rows."""

    def __init__(self, weight: Any, bias: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().to_sparse_csr())
        self.bias = nn.Parameter(bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = torch.sparse.mm(self.weight, x.t())
        return product.t() + self.bias


def _step(layer: nn.Module, x: Tensor, train: bool) -> Step:
    if not train:

        def inference() -> None:
            with torch.no_grad():
                layer(x)

        return inference
    parameters = list(layer.parameters())
    x.requires_grad_()
    dy = torch.ones_like(layer(x.detach()))
    optimizer = torch.optim.SGD(parameters, lr=_LEARNING_RATE) if parameters else None

    def training() -> None:
        for leaf in (x, *parameters):
            leaf.grad = None
        torch.autograd.backward(layer(x), dy)
        if optimizer is not None:
            optimizer.step()

    return training


def _warmed_up(timer: Timer) -> int:
    """Return how many calls take as long as a sample."""
    timer.timeit(1)
    once = timer.timeit(1)
    calls = max(1, round(SAMPLE_S / max(once, 1e-9)))
    return max(1, round(calls * SAMPLE_S / max(timer.timeit(calls), 1e-9))) if calls > 1 else 1


def _high_water() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmHWM")


def main() -> None:
    """Print the answer of `run` as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(WORKLOADS))
    parser.add_argument("--seconds", type=float, default=0.15)
    parser.add_argument("--rivals", action="store_true")
    given = parser.parse_args()
    print(json.dumps(run(given.names, given.seconds, rivals=given.rivals)))


if __name__ == "__main__":
    main()

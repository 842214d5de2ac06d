"""Cold caches on a CPU: several layers in turn, each of which finds its weights in memory.

A layer that is called again and again lives in the caches, as no layer of a model does that is
larger than they are. Here as many layers as a small model has are called one after the other, and
before each such turn all threads write over twice as much as the last level of cache holds. What a
model shares from layer to layer stays warm: code, threads that are awake, and, but for the first of
a turn, the input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsebench.cases import phases, problem
from sparsebench.cases.case import Case, Phase
from sparsebench.implementations import Implementation
from sparsebench.measuring import memory, oracle
from sparsebench.measuring.verification import Incorrect, drop_gradients

LAYERS = 8
_CPUS = Path("/sys/devices/system/cpu")
_UNKNOWN = 64 << 20  # bytes, where the system does not tell


def others(implementation: Implementation, case: Case, folder: Path) -> list[nn.Module]:
    """Build the other layers of a turn, of the numbers in `folder`: fewer where memory is short.

    Each reads them for itself: of layers that share their connections only one would find them in
    memory.
    """
    room = memory.available(case.device) // 2 // max(1, implementation.bytes_needed(case))
    path = folder / "problem.pt"
    return [
        implementation.build(problem.load(path, case.device, case.phase))
        for _ in range(min(LAYERS - 1, room))
    ]


def check(modules: Sequence[nn.Module], x: Tensor, dy: Tensor, case: Case, allowed: float) -> None:
    """Compare the layers of a turn with the first, which is verified by itself.

    They were made of the same numbers and called as often. Raises Incorrect where an output or a
    gradient differs by more than `allowed`, relative to the largest entry.
    """
    if case.phase == "rewiring":
        return  # each grows where it happens to
    phase: Phase = "inference" if case.phase == "inference" else "forward_backward"
    wanted: list[Tensor] = []
    for module in modules:
        found = [phases.step(module, x, dy, phase)()]
        gradients = [leaf.grad for leaf in (x, *module.parameters())]
        found += [g for g in gradients if g is not None and g.layout == torch.strided]
        wanted = wanted or [tensor.double() for tensor in found]
        if module is not modules[0]:  # the last timed step's are looked at as well
            drop_gradients(module, x)
        if len(found) != len(wanted) or any(
            not oracle.relative_error(tensor, exact) <= allowed
            for tensor, exact in zip(found, wanted, strict=True)
        ):
            raise Incorrect("the layers of a turn, made of the same numbers, differ")


def eviction() -> Callable[[], object]:
    """Return what leaves nothing of a layer in the caches."""
    numbers = torch.zeros(2 * last_level() // 4)
    # In place: what only writes may pass the caches by.
    return lambda: numbers.add_(1)


def last_level() -> int:
    """Return the bytes of all caches of the last level that this machine has."""
    caches: dict[tuple[int, str], int] = {}
    for index in _CPUS.glob("cpu[0-9]*/cache/index*"):
        try:
            level, size, shared = (
                (index / name).read_text().strip() for name in ("level", "size", "shared_cpu_list")
            )
            caches[int(level), shared] = int(size.removesuffix("K")) << 10
        except (OSError, ValueError):
            continue
    last = max((level for level, _ in caches), default=0)
    return sum(size for (level, _), size in caches.items() if level == last) or _UNKNOWN

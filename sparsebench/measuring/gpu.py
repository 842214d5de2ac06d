"""How a GPU is measured: its clock, its L2 cache and its memory, behind one small interface.

What measures on a GPU goes through `of(device)`, so that it can be tested with a stand-in on a
machine that has none. Which GPUs there are is the library's to say: `sparselayers.accelerator`.
"""

from __future__ import annotations

import gc
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

_LEAST_FLUSH = 1 << 26  # bytes, where the driver tells of a smaller cache, or of none
_CYCLES_PER_S = 2e9  # of the fastest GPU there is, about
_LONGEST_WAIT = 0.05  # seconds


class Meters(ABC):
    """What one GPU is measured with: its clock, and the meters of its memory."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Return what a measurement depends on: name, memory, capability, processors, cache."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for all work on the device."""

    @abstractmethod
    def seconds(self, call: Callable[[], object], count: int, *, cold: bool) -> list[float]:
        """Return the device's own times of `count` calls, each between two events.

        Before every call the L2 cache is overwritten if `cold`, or else left as the call before
        left it. The memory that takes is given back. The time that the host takes to launch work
        is not in them.
        """

    @abstractmethod
    def settle(self, dtype: torch.dtype) -> None:
        """Let libraries allocate what they keep for as long as the process lives."""

    @abstractmethod
    def release(self) -> None:
        """Give memory that no tensor occupies back to the driver."""

    @abstractmethod
    def free(self) -> int:
        """Return the bytes that can still be allocated."""

    @abstractmethod
    def allocated(self) -> int:
        """Return the bytes that tensors occupy."""

    @abstractmethod
    def reset_peak(self) -> None:
        """Let `peak` count from now."""

    @abstractmethod
    def peak(self) -> int:
        """Return the most bytes that tensors occupied since `reset_peak`."""


class CudaMeters(Meters):
    """Those of a GPU as PyTorch sees it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def description(self) -> dict[str, Any]:
        """Return what the driver says."""
        gpu = torch.cuda.get_device_properties(self._device)
        return {
            "name": gpu.name,
            "memory_gib": round(gpu.total_memory / 2**30),
            "capability": f"{gpu.major}.{gpu.minor}",
            "multiprocessors": gpu.multi_processor_count,
            "l2_mib": round(gpu.L2_cache_size / 2**20),
        }

    def synchronize(self) -> None:
        """Wait for all streams."""
        torch.cuda.synchronize(self._device)

    def seconds(self, call: Callable[[], object], count: int, *, cold: bool) -> list[float]:
        """Queue everything behind a wait of the device, then wait for it once.

        Launching can take longer than the work that is launched, and events count what passes
        between them: before the first event the device waits until the host has queued the call.
        """
        with torch.cuda.device(self._device):
            # Twice the cache, so that writing it leaves nothing of the operands there.
            cached = torch.cuda.get_device_properties(self._device).L2_cache_size
            size = max(2 * cached, _LEAST_FLUSH) if cold else 0
            flush = torch.empty(size, dtype=torch.int8, device=self._device)
            self.synchronize()
            start = time.perf_counter()
            call()
            launching = min(time.perf_counter() - start, _LONGEST_WAIT)
            cycles = math.ceil(1.5 * launching * _CYCLES_PER_S)
            events = []
            for _ in range(count):
                first, last = (
                    torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
                    for _ in range(2)
                )
                if cold:
                    flush.zero_()
                torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]
                first.record()
                call()
                last.record()
                events.append((first, last))
            self.synchronize()
        return [first.elapsed_time(last) * 1e-3 for first, last in events]

    def settle(self, dtype: torch.dtype) -> None:
        """Multiply once in each direction: cuBLAS keeps some megabytes for every thread.

        (PyTorch computes gradients in a thread of its own.)
        """
        with torch.cuda.device(self._device):
            weight = torch.ones(16, 16, dtype=dtype, device=self._device, requires_grad=True)
            y = torch.nn.functional.linear(weight, weight, weight[0])
            torch.autograd.grad(y.sum(), weight)
            self.synchronize()

    def release(self) -> None:
        """Empty PyTorch's cache."""
        torch.cuda.empty_cache()

    def free(self) -> int:
        """Ask the driver."""
        return int(torch.cuda.mem_get_info(self._device)[0])

    def allocated(self) -> int:
        """Ask the caching allocator."""
        return int(torch.cuda.memory_allocated(self._device))

    def reset_peak(self) -> None:
        """Tell the caching allocator."""
        torch.cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> int:
        """Ask the caching allocator."""
        return int(torch.cuda.max_memory_allocated(self._device))


@cache
def of(device: torch.device) -> Meters:
    """Return the meters of the GPU `device`."""
    return CudaMeters(device)


def release(device: torch.device | str) -> None:
    """Give memory of `device` that no tensor occupies back, a GPU's for other programs to use."""
    gc.collect()  # what failed may be kept by cycles
    device = torch.device(device)
    if device.type != "cpu":
        of(device).release()


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory of the host or of a GPU was exhausted."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # PyTorch's words for the host; the driver's; those of cuBLAS and cuSPARSE for their own needs.
    words = ("allocate memory", "CUDA error: out of memory", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(some in str(error) for some in words)

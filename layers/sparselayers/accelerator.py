"""All that is asked of a GPU beside computing on it: one small interface.

What measures on a GPU or decides about one goes through `of(device)`, so that it can be tested with
a stand-in on a machine that has none.
"""

from __future__ import annotations

import gc
import math
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

_LEAST_FLUSH = 1 << 26  # bytes, where the driver tells of a smaller cache, or of none
_CYCLES_PER_S = 2e9  # of the fastest GPU there is, about
_LONGEST_WAIT = 0.05  # seconds


class Accelerator(ABC):
    """One GPU: what it is, its clock, its L2 cache and its memory."""

    @abstractmethod
    def name(self) -> str:
        """Return the model, as its driver calls it."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Return what a measurement depends on: name, memory, capability, processors, cache."""

    @abstractmethod
    def capability(self) -> tuple[int, int]:
        """Return the compute capability, (major, minor)."""

    @abstractmethod
    def capturing(self) -> bool:
        """Return whether the current stream is being captured into a CUDA graph."""

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


class Cuda(Accelerator):
    """A GPU as PyTorch sees it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @cache  # noqa: B019 — there are as many as GPUs
    def name(self) -> str:
        """Return what the driver says."""
        return torch.cuda.get_device_name(self._device)

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

    def capability(self) -> tuple[int, int]:
        """Return what the driver says."""
        return torch.cuda.get_device_capability(self._device)

    def capturing(self) -> bool:
        """Ask the current stream."""
        return torch.cuda.is_current_stream_capturing()

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
def of(device: torch.device) -> Accelerator:
    """Return the GPU `device`."""
    return Cuda(device)


def synchronize(device: torch.device | str) -> None:
    """Wait for all work on `device`; a CPU's is done when it returns."""
    device = torch.device(device)
    if device.type != "cpu":
        of(device).synchronize()


def devices() -> list[str]:
    """Return the GPUs that can be used, as PyTorch names them: cuda:0, cuda:1, …"""
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())] if usable() else []


def usable() -> bool:
    """Return whether there is a GPU that can be used; `problem` says why there is none."""
    with warnings.catch_warnings():  # PyTorch's, of a driver that is too old
        warnings.simplefilter("ignore")
        return torch.cuda.is_available()


def tensor_cores(use: bool) -> None:
    """Let this process multiply and convolve float32 in TF32 on a GPU, or in full float32.

    PyTorch's own default is full float32 for products and TF32 for convolutions.
    """
    torch.set_float32_matmul_precision("high" if use else "highest")
    with warnings.catch_warnings():  # of a newer name, with which older ones do not mix
        warnings.simplefilter("ignore")
        torch.backends.cudnn.allow_tf32 = use


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


def problem(device: torch.device | str = "cuda") -> str | None:
    """Say why `device` cannot be used on this machine, and what would help; None if it can."""
    device = torch.device(device)
    if device.type == "cpu":
        return None
    if usable():
        found = torch.cuda.device_count()
        if device.index is not None and device.index >= found:
            return f"there is no {device}: choose from {', '.join(devices())}"
        return None
    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        return "this build of PyTorch has no CUDA: install one that has, see pytorch.org"
    reason = ""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        # PyTorch's own words: no driver, or one that is too old for this build.
        reason = " ".join(str(error).split()).removesuffix(".")
    return "this machine has no CUDA device that PyTorch can use" + (
        f": {reason}" if reason else ""
    )

"""How peaks of memory are taken, and nothing else."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import torch

from sparsebench.measuring import allocator, gpu
from sparsebench.measuring.gpu import Meters

_CLEAR_REFS = Path("/proc/self/clear_refs")
_GROUP = Path("/sys/fs/cgroup")
_RESET_PEAK = "5"  # proc(5): resets VmHWM to the resident set size


def available(device: str) -> int:
    """Return how many bytes can still be allocated on `device`, within this container's limit."""
    if device != "cpu":
        return _meters(device).free()
    free = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):  # no cgroup v2, or no limit ("max")
        limit = int((_GROUP / "memory.max").read_text())
        statistics = dict(
            line.split() for line in (_GROUP / "memory.stat").read_text().splitlines()
        )
        reclaimable = int(statistics.get("inactive_file", 0))
        used = int((_GROUP / "memory.current").read_text())
        free = min(free, limit - used + reclaimable)
    return max(0, free)


def held(device: str) -> int:
    """Return the bytes that this process holds on `device`, after garbage is given back.

    On a CPU these are resident anonymous pages: pages of code and of mapped files do not count.
    """
    gc.collect()
    if device != "cpu":
        _meters(device).synchronize()
        return _meters(device).allocated()
    allocator.trim()
    with suppress(OSError):
        return _status("RssAnon")
    return int(psutil.Process().memory_info().rss)


def peak(step: Callable[[], object], device: str) -> tuple[int, str]:
    """Run `step` once; return how far memory rose above where it began, in bytes, and the method.

    `step` should have run before: the first call also loads code and fills caches.
    """
    gc.collect()
    if device != "cpu":
        meters = _meters(device)
        meters.synchronize()
        meters.reset_peak()
        baseline = meters.allocated()
        step()
        meters.synchronize()
        return meters.peak() - baseline, "torch.cuda.max_memory_allocated"
    allocator.trim()
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
        baseline = _status("VmHWM")
    except OSError:
        return _sampled_peak(step), "RSS sampled every ms"
    step()
    return max(0, _status("VmHWM") - baseline), "VmHWM"


def settle(device: str, dtype: torch.dtype) -> None:
    """Let libraries that compute on a GPU allocate what they keep: no layer's own memory."""
    _meters(device).settle(dtype)


def _meters(device: str) -> Meters:
    return gpu.of(torch.device(device))


def _status(field: str) -> int:
    """Read a size from /proc/self/status, in bytes. Raises OSError where there is none."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def _sampled_peak(step: Callable[[], object]) -> int:
    process = psutil.Process(os.getpid())
    baseline = process.memory_info().rss
    with _sampling(lambda: int(process.memory_info().rss)) as samples:
        step()
    return max(0, max(samples, default=baseline) - baseline)


@contextmanager
def _sampling(probe: Callable[[], int], interval: float = 1e-3) -> Iterator[list[int]]:
    """Call `probe` every `interval` seconds in a thread, and once more at the end."""
    samples: list[int] = []
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(interval):
            samples.append(probe())

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        samples.append(probe())
        stop.set()
        thread.join()

"""How peaks of memory are taken, and nothing else."""

from __future__ import annotations

import gc
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import psutil
import torch

from sparsebench.measuring import allocator, gpu
from sparsebench.measuring.gpu import Meters

_STATUS = Path("/proc/self/status")
_ANSWER = bytearray(1 << 16)  # what it says; a line of groups may be long
_RESET = Path("/proc/self/clear_refs")  # "5" lets the highest resident size begin anew
_GROUP = Path("/sys/fs/cgroup")
_REPEATS = 3  # of a step after a first, at most, while they take
_QUICK_S = 0.2  # seconds: what libraries keep for the next call can only add to a rise
_EMPTY = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)


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

    On a CPU these are the bytes in use of the C library's malloc, or, where it does not tell,
    resident anonymous pages: pages of code and of mapped files do not count.
    """
    gc.collect()
    if device != "cpu":
        _meters(device).synchronize()
        return _meters(device).allocated()
    allocator.trim()
    allocator.in_use()  # asking takes memory, once
    if (used := allocator.in_use()) is not None:
        return used
    with suppress(OSError):
        return _status("RssAnon")
    return int(psutil.Process().memory_info().rss)


def peak(
    step: Callable[[], object],
    device: str,
    *,
    forget: Callable[[], object] | None = None,
    alone: bool = True,
) -> tuple[int, str]:
    """Run `step`; return how far memory rose above where it began, in bytes, and the method.

    On a CPU that is the rise of the address space, with every block of a page or more mapped by
    itself: what is in use, whatever was freed before, and whichever pages of code the system has
    dropped and reads again. `step` should have run before: the first call also loads code, starts
    threads and fills caches. With `forget`, which frees what a step leaves, it runs two to four
    times, and the least rise counts: what a library keeps between calls, for whichever comes next,
    is no layer's. Where times are taken within `step`, it is not `alone`: memory
    is then handed out as usual, and it runs once.
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
    try:
        _status("VmPeak")
    except OSError:
        allocator.trim()
        return _sampled_peak(step), "RSS sampled every ms"
    if not alone:
        return _rise(step, alone=False), "VmPeak"
    with allocator.exact():
        rises, start = [_rise(step)], time.perf_counter()
        while forget is not None and len(rises) <= _REPEATS:
            forget()
            rises.append(_rise(step))
            if time.perf_counter() - start > _QUICK_S:
                break
    return min(rises), "VmPeak"


def resident_peak(step: Callable[[], object]) -> tuple[int, str]:
    """Run `step` once; return how far resident memory rose, in bytes, and the method.

    Pages of files that `step` maps count once they have been read, which in `peak` count as they
    are mapped, by whoever maps them. What was freed before, and is used again, does not.
    """
    gc.collect()
    allocator.trim()
    try:
        _RESET.write_text("5")
        before = _status("VmRSS")
    except OSError:
        return _sampled_peak(step), "RSS sampled every ms"
    step()
    return max(0, _status("VmHWM") - before), "VmHWM"


def _rise(step: Callable[[], object], *, alone: bool = True) -> int:
    """Return how far the size of the address space rises while `step` runs.

    The system keeps the largest size ever: an empty mapping lifts the present one up to it.
    """
    with allocator.without_holes() if alone else nullcontext():
        missing = _status("VmPeak") - _status("VmSize")
        filled = mmap.mmap(-1, missing, flags=_EMPTY, prot=0) if missing > 0 else None
        try:
            before = _status("VmPeak")
            step()
            return _status("VmPeak") - before
        finally:
            if filled is not None:
                filled.close()


def settle(device: str, dtype: torch.dtype) -> None:
    """Let libraries that compute there allocate what they keep: no layer's own memory."""
    if device != "cpu":
        _meters(device).settle(dtype)
        return
    layer = torch.nn.Linear(16, 16, dtype=dtype)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    x = torch.ones(16, 16, dtype=dtype, requires_grad=True)
    torch.autograd.backward(layer(x), torch.ones_like(x))
    optimizer.step()


def _meters(device: str) -> Meters:
    return gpu.of(torch.device(device))


def _status(field: str) -> int:
    """Read a size from /proc/self/status, in bytes. Raises OSError where there is none.

    Into memory that is there already: buffers of a page or more, mapped while the system answers,
    would be part of the answer, and a step would find that much for nothing.
    """
    file = os.open(_STATUS, os.O_RDONLY)
    try:
        end = os.readv(file, [_ANSWER])
    finally:
        os.close(file)
    name = f"\n{field}:".encode()
    start = _ANSWER.find(name, 0, end)
    if start < 0:
        raise OSError(f"/proc/self/status has no {field}")
    start += len(name)
    return int(_ANSWER[start : _ANSWER.index(b"kB", start)]) * 1024


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

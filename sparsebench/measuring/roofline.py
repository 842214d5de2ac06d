"""How fast this machine can be at most: GFLOP/s of a matmul, GB/s of a stream, probed once."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from sparsebench.measuring import gpu, isolation

_LARGE = 3 << 26  # bytes: beyond most caches
_LARGE_GPU = 3 << 29  # the same on a GPU: 1.6 GB
_SMALL = tuple(3 << shift for shift in (16, 18, 20, 22, 24))  # 0.2 to 50 MB
_SECONDS = 0.3  # for each of the two
# Slower than this a type is emulated: it shows in a product that takes milliseconds.
_EMULATED_GFLOPS, _EMULATED_SIZE = 5.0, 256


@cache
def roofline(device: str, dtype: str, threads: int) -> dict[str, Any]:
    """Probe the roofline in a process of its own, the first time; `failed` says why it did."""
    try:
        answer: dict[str, Any] = isolation.call(probe, device, dtype, threads, timeout_s=60)
    except isolation.Failure as failure:
        return {"failed": str(failure)}
    return answer


def probe(device: str, dtype: str, threads: int) -> dict[str, Any]:
    """Measure the roofline: the best of repeated matmuls, and of streams a = b + s c.

    GB/s (10⁹ bytes a second) count what is read and written, as the STREAM benchmark does:
    `stream_gb_s` out of memory; `cache_gb_s` lists, for arrays that take so many bytes together
    and are used again and again, what the caches that they fit into give. On a GPU the times are
    its own, and no caches are listed: cases are timed with a cold one.
    """
    torch.set_num_threads(threads)
    large, small = (_LARGE, _SMALL) if device == "cpu" else (_LARGE_GPU, ())
    return {
        "device": device,
        "dtype": dtype,
        "threads": threads,
        "matmul_gflops": _matmul(device, dtype, _SECONDS),
        "stream_gb_s": _stream(device, large, _SECONDS),
        "cache_gb_s": [(size, _stream(device, size, _SECONDS / 10)) for size in small],
    }


def _matmul(device: str, dtype: str, seconds: float) -> float:
    """The best GFLOP/s of a square matmul: a small one where a CPU emulates the type.

    There a large one takes a minute, and no cache makes a difference.
    """
    size = 2048 if device == "cpu" else 8192
    if device == "cpu":
        small = _square(device, dtype, _EMULATED_SIZE, seconds / 10)
        if small < _EMULATED_GFLOPS:
            return small
    return _square(device, dtype, size, seconds)


def _square(device: str, dtype: str, size: int, seconds: float) -> float:
    b, c = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
    a = torch.empty_like(b)
    best = _best(lambda: torch.mm(b, c, out=a), device, seconds)
    return float(f"{2 * size**3 / best / 1e9:.4g}")


def _stream(device: str, footprint: int, seconds: float) -> float:
    """The best GB/s of a = b + s c over three arrays of `footprint` bytes together."""
    a, b, c = (torch.ones(footprint // 12, device=device) for _ in range(3))
    repeats = max(1, 2**20 // footprint)
    best = _best(
        lambda: [torch.add(b, c, alpha=0.5, out=a) for _ in range(repeats)], device, seconds
    )
    return float(f"{repeats * 12 * a.numel() / best / 1e9:.4g}")


def _best(call: Callable[[], object], device: str, seconds: float) -> float:
    """The shortest time of `call`, repeated for `seconds` after a first one; or ten on a GPU."""
    if device != "cpu":
        return min(gpu.of(torch.device(device)).seconds(call, 10, cold=False))
    best, end = float("inf"), None
    while end is None or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        now = time.perf_counter()
        if end is None:
            end = now + seconds
        else:
            best = min(best, now - start)
    return best

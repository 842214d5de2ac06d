"""How fast this machine can be at most: GFLOP/s of a matmul, GB/s of a stream, probed once.

No library is the fastest everywhere: MKL, by which PyTorch multiplies, leaves part of some cores of
AMD unused. On a CPU the arithmetic is therefore probed by all that are there (PyTorch's own BLAS,
oneDNN, NumPy's BLAS), with operands that lie in memory and with such as a core's own cache holds,
where nothing but multiplications and additions is left to wait for. The best of them counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from sparsebench.implementations import dense_onednn, dense_openblas
from sparsebench.measuring import gpu, isolation

Multiply = Callable[[Tensor, Tensor, Tensor], object]

_LARGE = 3 << 26  # bytes: beyond most caches
_LARGE_GPU = 3 << 29  # the same on a GPU: 1.6 GB
_SMALL = tuple(3 << shift for shift in (16, 18, 20, 22, 24))  # 0.2 to 50 MB
_SECONDS = 0.3  # for each of the two
_SIZES = (2048, 384)  # of products: beyond a core's own cache, and within it
_SIZE_GPU = 8192
_FILLING = 10**8  # operations of a sample at least
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
    `matmul_gflops` is the best of `gflops`, by library and size; `stream_gb_s` out of memory;
    `cache_gb_s` lists, for arrays that take so many bytes together and are used again and again,
    what the caches that they fit into give. On a GPU the times are its own, and no caches are
    listed: cases are timed with a cold one.
    """
    torch.set_num_threads(threads)
    large, small = (_LARGE, _SMALL) if device == "cpu" else (_LARGE_GPU, ())
    return {
        "device": device,
        "dtype": dtype,
        "threads": threads,
        **_arithmetic(device, dtype),
        "stream_gb_s": _stream(device, large, _SECONDS),
        "cache_gb_s": [(size, _stream(device, size, _SECONDS / 10)) for size in small],
    }


def _arithmetic(device: str, dtype: str) -> dict[str, Any]:
    """The best GFLOP/s of square matmuls, and those of each library and size.

    Of a type that a CPU emulates the one of a small product alone: there a large one takes a
    minute, and no cache makes a difference.
    """
    ways = _ways(device, dtype)
    if device != "cpu":
        found = {f"torch {_SIZE_GPU}": _square(ways["torch"], device, dtype, _SIZE_GPU, _SECONDS)}
    else:
        small = _square(ways["torch"], device, dtype, _EMULATED_SIZE, _SECONDS / 10)
        found = {f"torch {_EMULATED_SIZE}": small}
        sizes = _SIZES if small >= _EMULATED_GFLOPS else ()
        share = _SECONDS / max(1, len(ways))
        found |= {
            f"{name} {size}": _square(way, device, dtype, size, share)
            for size in sizes
            for name, way in ways.items()
        }
    return {"matmul_gflops": max(found.values()), "gflops": found}


def _ways(device: str, dtype: str) -> dict[str, Multiply]:
    """Return what multiplies here, by name; each takes two operands and room for the product."""
    ways: dict[str, Multiply] = {"torch": lambda a, b, out: torch.mm(a, b, out=out)}
    if device == "cpu" and dtype == "float32" and dense_onednn.without_onednn() is None:
        ways["onednn"] = lambda a, b, out: dense_onednn.linear(a, b.t())
    if device == "cpu" and dtype in ("float32", "float64"):
        threadpool_limits(torch.get_num_threads(), user_api="blas")
        ways[f"numpy ({dense_openblas.blas()})"] = lambda a, b, out: np.matmul(
            a.numpy(), b.numpy(), out=out.numpy()
        )
    return ways


def _square(multiply: Multiply, device: str, dtype: str, size: int, seconds: float) -> float:
    """The best GFLOP/s of a product of `size`; of as many as fill a millisecond, where it is small.

    Small ones are in cache from one to the next.
    """
    b, c = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
    a = torch.empty_like(b)
    repeats = max(1, _FILLING // (2 * size**3))
    best = _best(lambda: [multiply(b, c, a) for _ in range(repeats)], device, seconds)
    return float(f"{repeats * 2 * size**3 / best / 1e9:.4g}")


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

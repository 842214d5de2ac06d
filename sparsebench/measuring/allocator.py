"""What the C library does with freed memory: keeps it while times, and none for a peak, are taken.

By itself glibc hands it back to the system when enough lies free at the end of its heap, and the
next call pays a page fault for every 4 KB of its result. Whether that happens is decided by what
small thing was allocated last: of four processes that timed one layer, two took four times as long
as the others. A referee must not toss coins, so what lies in the heap is kept, for every
implementation alike. Blocks of more than 32 MiB never lie there: they are mapped and handed back,
here as in any program that leaves glibc's settings alone.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import torch

# malloc.h
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_TOP_PAD = -2
_MMAP_MAX = -4
_NEVER = -1
_TORCH = Path(torch.__file__).with_name("lib") / "libtorch_cpu.so"
_PAGE = 4096
_BLOCKS = 65536  # by themselves, at most, as glibc has it
_LARGEST = 32 << 20  # what glibc raises the threshold to by itself, as blocks are freed


def keep_freed() -> bool:
    """Keep the heap of this process from now on; return whether the C library can be told so.

    Large blocks are mapped as without us, whatever the layer that is measured has told glibc: else
    it would have kept gradients where its rivals have fresh ones.
    """
    if (mallopt := _function("mallopt")) is None:
        return False
    blocks = os.environ.get("MALLOC_MMAP_MAX_", "")
    mallopt(_MMAP_MAX, int(blocks) if blocks.isdecimal() else _BLOCKS)
    return bool(mallopt(_TRIM_THRESHOLD, _NEVER) and mallopt(_MMAP_THRESHOLD, _LARGEST))


def keep_everything() -> bool:
    """Keep freed blocks of any size in the heap from now on; return whether glibc can be told so.

    Then a dense gradient of 64 MB is written where that of the call before was: a program has this
    by another allocator, or by glibc's settings. By itself each is 16,384 fresh pages.
    """
    mallopt = _function("mallopt")
    return keep_freed() and mallopt is not None and bool(mallopt(_MMAP_MAX, 0))


def can_keep() -> bool:
    """Return whether `keep_everything` can do anything here."""
    return _function("mallopt") is not None


@contextmanager
def exact() -> Iterator[bool]:
    """Map every block of a page or more by itself, so that what is free is given back at once.

    The process then has what is in use, to the page, but for holes in its heap. Yields whether the
    C library can be told so.
    Afterwards blocks up to 32 MiB lie in the heap again, as glibc has it by itself once some of
    that size were freed.
    """
    mallopt = _function("mallopt")
    if mallopt is None:
        yield False
        return
    usual = ((_MMAP_THRESHOLD, _LARGEST), (_TRIM_THRESHOLD, 2 * _LARGEST), (_TOP_PAD, 32 * _PAGE))
    tight = ((_MMAP_MAX, _BLOCKS), (_MMAP_THRESHOLD, _PAGE), (_TRIM_THRESHOLD, 0), (_TOP_PAD, 0))
    try:
        told = [bool(mallopt(*option)) for option in tight]  # every one, whatever the others say
        yield all(told)
    finally:
        for option in usual:
            mallopt(*option)


@contextmanager
def without_holes() -> Iterator[None]:
    """Keep blocks in all places of a page or more that are free within the heap.

    malloc looks there first, whatever its thresholds, so that a step would find memory for nothing.
    """
    malloc, free, sbrk = (_function(name) for name in ("malloc", "free", "sbrk"))
    if malloc is None or free is None or sbrk is None:
        yield
        return
    for function in (malloc, sbrk):
        function.restype = ctypes.c_void_p  # type: ignore[attr-defined]
    free.argtypes = [ctypes.c_void_p]  # type: ignore[attr-defined]
    kept: list[int] = []
    size = _LARGEST
    # What lies beyond was no hole: blocks by themselves, and a heap that grows, for a layer has
    # told malloc to map none. That would go on until there is no memory.
    end = sbrk(0)
    while size >= _PAGE:
        block = malloc(ctypes.c_size_t(size))
        if block and block < end:
            kept.append(block)
            continue
        free(block)
        size //= 2
    try:
        yield
    finally:
        for block in kept:
            free(block)


class _Info(ctypes.Structure):
    """mallinfo2(3): what is in use is `uordblks` in heaps, and `hblkhd` in blocks by themselves."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def in_use() -> int | None:
    """Return the bytes that malloc has given out and not taken back; None where it is not asked.

    That is where the C library does not tell, or where another allocator was loaded before it.
    """
    mallinfo = _function("mallinfo2")
    if mallinfo is None or os.environ.get("LD_PRELOAD"):
        return None
    mallinfo.restype = _Info  # type: ignore[attr-defined]
    info = cast(Any, mallinfo())
    return int(info.uordblks + info.hblkhd)


def trim() -> None:
    """Give freed memory of the heap back to the system, so that it cannot be reused unseen.

    And what MKL keeps between products, for whichever comes next: no layer's own.
    """
    with suppress(OSError, AttributeError):  # another BLAS, or another build of PyTorch
        ctypes.CDLL(str(_TORCH)).mkl_serv_free_buffers()
    if (malloc_trim := _function("malloc_trim")) is not None:
        malloc_trim(0)


def description() -> str:
    """Name the C library and what it does with freed memory while a case is timed."""
    library = " ".join(platform.libc_ver()).strip()
    return f"{library}, heap kept" if _function("mallopt") else library


def _function(name: str) -> Callable[..., int] | None:
    try:
        return cast(Callable[..., int], getattr(ctypes.CDLL(None), name))
    except (OSError, AttributeError):  # not glibc
        return None

"""What the C library does with freed memory: keeps it while a case is timed, trims it for a peak.

By itself glibc hands it back to the system when enough lies free at the end of its heap, and the
next call pays a page fault for every 4 KB of its result. Whether that happens is decided by what
small thing was allocated last: of four processes that timed one layer, two took four times as long
as the others. A referee must not toss coins, so what lies in the heap is kept, for every
implementation alike. Blocks of more than 32 MiB never lie there: they are mapped and handed back,
here as in any program that leaves glibc's settings alone.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from typing import cast

# malloc.h
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_NEVER = -1
_LARGEST = 32 << 20  # what glibc raises the threshold to by itself, as blocks are freed


def keep_freed() -> bool:
    """Keep the heap of this process from now on; return whether the C library can be told so."""
    if (mallopt := _function("mallopt")) is None:
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _NEVER) and mallopt(_MMAP_THRESHOLD, _LARGEST))


def trim() -> None:
    """Give freed memory of the heap back to the system, so that it cannot be reused unseen."""
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

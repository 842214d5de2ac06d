"""What the C library does with memory that was freed, while a case is timed.

By itself glibc hands it back to the system when enough lies free at the end of its heap, and the
next call pays a page fault for every 4 KB of its result. Whether that happens is decided by what
small thing was allocated last: of four processes that timed one layer, two took four times as long
as the others. A referee must not toss coins, so what was freed is kept, as jemalloc, tcmalloc and
PyTorch's allocator for GPUs keep it; for every implementation alike.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable

# malloc.h
_TRIM_THRESHOLD = -1
_MMAP_MAX = -4
_NEVER = -1


def keep_freed() -> bool:
    """Keep what this process frees from now on; return whether the C library can be told so."""
    if (mallopt := _mallopt()) is None:
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _NEVER) and mallopt(_MMAP_MAX, 0))


def description() -> str:
    """Name the C library and what it does with freed memory while a case is timed."""
    library = " ".join(platform.libc_ver()).strip()
    return f"{library}, freed memory kept" if _mallopt() else library


def _mallopt() -> Callable[[int, int], int] | None:
    try:
        return ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return None

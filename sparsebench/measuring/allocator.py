"""What the C library does with memory that was freed, while a case is timed.

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

# malloc.h
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_NEVER = -1
_LARGEST = 32 << 20  # what glibc raises the threshold to by itself, as blocks are freed


def keep_freed() -> bool:
    """Keep the heap of this process from now on; return whether the C library can be told so."""
    if (mallopt := _mallopt()) is None:
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _NEVER) and mallopt(_MMAP_THRESHOLD, _LARGEST))


def description() -> str:
    """Name the C library and what it does with freed memory while a case is timed."""
    library = " ".join(platform.libc_ver()).strip()
    return f"{library}, heap kept" if _mallopt() else library


def _mallopt() -> Callable[[int, int], int] | None:
    try:
        return ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return None

"""Requests of a program to the callgrind that it runs in: when to count, and for what.

A request is some instructions of the processor that do nothing elsewhere, with the address of what
is asked for in a register (valgrind's manual, "The Client Request mechanism").
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable

# For x86-64: the address goes to rax, and 0, the answer outside of valgrind, to rdx; then come
# rotations of rdi that add up to none and an exchange of rbx with itself; the answer is returned.
_CODE = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")
_RUNNING_ON_VALGRIND = 0x1001
_CALLGRIND = ord("C") << 24 | ord("T") << 16
_ZERO, _DUMP, _START = _CALLGRIND + 1, _CALLGRIND + 3, _CALLGRIND + 4


class Callgrind:
    """Raises OSError where this is not valgrind."""

    def __init__(self) -> None:
        everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        self._code = mmap.mmap(-1, len(_CODE), prot=everything)
        self._code[:] = _CODE
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._code))
        self._ask = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(address)
        self._zero = self._words(_ZERO)
        if not self._ask(self._words(_RUNNING_ON_VALGRIND)):
            raise OSError("this program does not run in valgrind")

    def start(self) -> None:
        """Count from now on: until then a program is several times as fast."""
        self._ask(self._words(_START))

    def count(self, name: str, call: Callable[[], object]) -> None:
        """Make a call, and have what it executes written as the count of `name`."""
        text = ctypes.create_string_buffer(name.encode())
        ask, zero, dump = self._ask, self._zero, self._words(_DUMP, ctypes.addressof(text))
        ask(zero)
        call()
        ask(dump)

    def _words(self, request: int, argument: int = 0) -> ctypes.Array[ctypes.c_uint64]:
        return (ctypes.c_uint64 * 6)(request, argument)

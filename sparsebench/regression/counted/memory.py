"""Numbers in memory that kernels know by its address."""

from __future__ import annotations

import ctypes
import mmap
import random
from array import array
from collections.abc import Sequence
from functools import cache
from typing import Any

_CODES = {
    "f32": "f", "f64": "d", "bf16": "H", "bool": "B",
    "i32": "i", "i64": "q", "u16": "H", "u64": "Q",
}  # fmt: skip


class Memory:
    """So many numbers of one type, from the start of a page on: no count depends on where."""

    def __init__(self, kind: str, count: int) -> None:
        self._kind = kind
        self._bytes = mmap.mmap(-1, count * array(_CODES[kind]).itemsize)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._bytes))

    @classmethod
    def of(cls, kind: str, numbers: Sequence[float]) -> Memory:
        """Return memory that holds `numbers`, which need no rounding."""
        coded: array[Any] = array("f" if kind == "bf16" else _CODES[kind], numbers)
        if kind == "bf16":  # the upper halves
            coded = array("H", coded.tobytes())[1::2]
        made = cls(kind, len(coded))
        made._bytes[:] = coded.tobytes()
        return made

    def be(self, other: Memory) -> None:
        """Hold what another holds."""
        self._bytes[:] = other._bytes[:]

    def numbers(self) -> list[float]:
        """Return what it holds."""
        coded: array[Any] = array(_CODES[self._kind], self._bytes[:])
        if self._kind == "bf16":
            coded = array("f", array("I", [half << 16 for half in coded]).tobytes())
        return coded.tolist()


@cache
def given(kind: str, count: int, seed: int, of_256: int = 256) -> Memory:
    """Return random eighths from −7/8 to 7/8: exact in every type, as are sums of their products.

    All but `of_256` of 256 are 0. Made once; all workloads read them.
    """
    source = random.Random(seed)
    drawn, kept = source.randbytes(count), source.randbytes(count)
    pairs = zip(drawn, kept, strict=True)
    return Memory.of(kind, [(byte % 15 - 7) / 8 if at < of_256 else 0 for byte, at in pairs])

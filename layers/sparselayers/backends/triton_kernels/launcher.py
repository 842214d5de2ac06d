"""One launch of a kernel, made ready once and then repeated for other tensors of the same shape.

Triton looks at every argument of every launch to find the kernel that was compiled for such: 20 to
40 µs for ours. For one shape, type and alignment it is always the same one. So the first launch is
Triton's, and later ones hand its part in C what Triton handed it then, but for the addresses of the
tensors and the stream (shortcut.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any

import triton
from torch import Tensor

from sparselayers.backends.triton_kernels import shortcut
from sparselayers.backends.triton_kernels.shortcut import AFTER, BEFORE

_ALIGNED = 15  # Triton compiles for pointers that are multiples of 16, or are not
_TRIES = 3  # to find a shortcut: one that is watched has none yet
_address = Tensor.data_ptr


class Launch:
    """A kernel over `blocks` programs, whose first arguments are tensors that differ from call to
    call.

    `fixed` are the arguments after those, `constants` its compile-time constants and options.
    Where Triton does not give the compiled kernel back, or it is not launched as `shortcut` knows
    (the interpreter, Triton before 3.4), every launch is Triton's own; so is each that somebody
    watches by Triton's hooks, and each of tensors that do not begin at a multiple of 16 bytes.
    """

    __slots__ = (
        "_after", "_before", "_call", "_constants", "_device", "_fixed", "_kernel", "_made",
        "_packed", "_rest", "_stream_of", "_tries", "blocks",
    )  # fmt: skip

    def __init__(
        self, kernel: Any, blocks: int, fixed: tuple[Any, ...], constants: dict[str, Any]
    ) -> None:
        self._kernel, self.blocks = kernel, blocks
        self._fixed, self._constants = fixed, constants
        self._call: Callable[..., object] | None = None
        self._rest: tuple[Any, ...] = ()
        self._tries = _TRIES

    def __call__(self, *tensors: Tensor) -> None:
        """Launch on the current device and stream."""
        call = self._call
        if call is not None and not (BEFORE or AFTER):
            places = tuple(map(_address, tensors))
            if not reduce(or_, places) & _ALIGNED:
                given, stream = places + self._rest, self._stream_of(self._device)
                if self._packed:
                    call(*self._before, stream, *self._after, given)
                else:
                    call(*self._before, stream, *self._after, *given)
                return
        made = self._kernel[(self.blocks, 1, 1)](*tensors, *self._fixed, **self._constants)
        if self._tries and not reduce(or_, map(_address, tensors)) & _ALIGNED:
            self._tries -= 1
            self._prepare(made, len(tensors))

    def _prepare(self, made: Any, tensors: int) -> None:
        if not isinstance(made, triton.compiler.CompiledKernel):
            return
        names = self._kernel.arg_names
        constants = [self._constants[name] for name in names if name in self._constants]
        fixed = (each.data_ptr() if isinstance(each, Tensor) else each for each in self._fixed)
        self._rest = (*fixed, *constants)
        found = shortcut.of(made, self.blocks, tensors, self._rest)
        if found is not None:
            self._before, self._after, self._packed = found.before, found.after, found.packed
            self._device, self._stream_of, self._made = found.device, found.stream_of, found.made
            self._call = found.call  # the last, for another thread may launch at any time
            self._tries = 0

"""One launch of a kernel, made ready once and then repeated for other tensors of the same shape.

Triton looks at every argument of every launch to find the kernel that was compiled for such: 20 to
40 µs for ours. For one shape, type and alignment it is always the same one. So the first launch is
Triton's, and later ones go to the compiled kernel that it returned, with the arguments that stay
as numbers and addresses that are known.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import triton
from torch import Tensor

_ALIGNED = 15  # Triton compiles for pointers that are multiples of 16, or are not


class Launch:
    """A kernel over `blocks` programs, whose first arguments differ from call to call.

    `fixed` are the arguments after those, `constants` its compile-time constants and options.
    Where Triton does not give the compiled kernel back, or it cannot be called with all arguments
    (the interpreter, Triton before 3.3), every launch is Triton's own.
    """

    __slots__ = ("_constants", "_fixed", "_kernel", "_ready", "_rest", "blocks")

    def __init__(
        self, kernel: Any, blocks: int, fixed: tuple[Any, ...], constants: dict[str, Any]
    ) -> None:
        self._kernel, self.blocks = kernel, blocks
        self._fixed, self._constants = fixed, constants
        self._ready: Callable[..., object] | None = None
        self._rest: tuple[Any, ...] = ()

    def __call__(self, *tensors: Tensor | None) -> None:
        """Launch on the current device and stream."""
        ready = self._ready
        if ready is not None:
            places = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
            for place in places:
                if place is not None and place & _ALIGNED:
                    break
            else:
                ready(*places, *self._rest)
                return
        made = self._kernel[(self.blocks, 1, 1)](*tensors, *self._fixed, **self._constants)
        if ready is None and all(t is None or not t.data_ptr() & _ALIGNED for t in tensors):
            self._prepare(made)

    def _prepare(self, made: Any) -> None:
        if not _CALLABLE or not isinstance(made, triton.compiler.CompiledKernel):
            return
        names = self._kernel.arg_names
        constants = [self._constants[name] for name in names if name in self._constants]
        fixed = (each.data_ptr() if isinstance(each, Tensor) else each for each in self._fixed)
        self._rest = (*fixed, *constants)
        self._ready = made[(self.blocks, 1, 1)]


def _takes_all() -> bool:
    """Whether a compiled kernel takes all arguments of its function, constants among them."""
    numbers = triton.__version__.split(".")[:2]
    if not all(number.isdigit() for number in numbers) or tuple(map(int, numbers)) < (3, 3):
        return False
    getter = getattr(triton.compiler.CompiledKernel, "__getitem__", None)
    return getter is not None and list(inspect.signature(getter).parameters) == ["self", "grid"]


_CALLABLE = _takes_all()

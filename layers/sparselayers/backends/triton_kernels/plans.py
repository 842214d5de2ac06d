"""How a product of a shape and type is launched: decided once, with the best tile, and kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from sparselayers import accelerator
from sparselayers.accelerator import Accelerator
from sparselayers.backends.triton_kernels import multiply
from sparselayers.backends.triton_kernels.launcher import Launch
from sparselayers.backends.triton_kernels.tiles import Tile
from sparselayers.backends.triton_kernels.tuning import TUNER

# What allocates a product of given tensors, launches its kernels, and returns it.
Plan = Callable[..., Any]

_MOST = 256  # of one matrix: batches of many lengths
_INTERPRETED = not isinstance(multiply.multiply, triton.JITFunction)


class Product(NamedTuple):
    """A product of a shape and type: its plan is that which `plans` has for `key`.

    Where it has none, one is made by `make` with the best of `tiles` for the class of shapes that
    `words` names; its kernels are compiled for it.
    """

    key: Hashable
    plans: dict[Any, Plan]
    device: torch.device
    tiles: Callable[[], Sequence[Tile]]
    make: Callable[[Tile], Plan]
    words: Callable[[], str]

    def of(self, *given: Tensor | None) -> Any:
        """Return the product of these tensors."""
        gpu = accelerator.of(self.device)
        if _INTERPRETED or gpu.is_current():
            return self._planned(gpu, given)(*given)
        with torch.cuda.device(self.device):  # Triton launches on the current device and stream
            return self._planned(gpu, given)(*given)

    def plan(self) -> Plan | None:
        """Return the plan where there is one, to be called while its device is the current one."""
        return self.make(self.tiles()[0]) if _INTERPRETED else self.plans.get(self.key)

    def _planned(self, gpu: Accelerator, given: tuple[Tensor | None, ...]) -> Plan:
        plan = self.plans.get(self.key)
        if plan is not None:
            return plan
        tiles = self.tiles()
        if _INTERPRETED:
            return self.make(tiles[0])
        made = {tile: self.make(tile) for tile in tiles}
        chosen = TUNER.choose(self.words(), tiles, lambda tile: made[tile](*given), gpu)
        if chosen is None:
            return made[tiles[0]]
        if len(self.plans) >= _MOST:
            self.plans.clear()
        return self.plans.setdefault(self.key, made[chosen])


class Multiply:
    """A matrix of `shape` and `strides`, by one launch: of x, values, the result and the bias."""

    __slots__ = ("_launch", "_shape", "_strides")

    def __init__(self, launch: Launch, shape: tuple[int, int], strides: tuple[int, int]) -> None:
        self._launch, self._shape, self._strides = launch, shape, strides

    def __call__(self, x: Tensor, values: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return the product."""
        y = values.new_empty_strided(self._shape, self._strides)
        if bias is None:
            self._launch(x, values, y)
        else:
            self._launch(x, values, y, bias)
        return y


class Sample:
    """The gradients of `nnz` values and of the bias of `rows` rows, or of None, by one launch."""

    __slots__ = ("_launch", "_nnz", "_rows")

    def __init__(self, launch: Launch, nnz: int, rows: int | None) -> None:
        self._launch, self._nnz, self._rows = launch, nnz, rows

    def __call__(self, dy: Tensor, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return both."""
        result = x.new_empty(self._nnz)
        if self._rows is None:
            self._launch(dy, x, result)
            return result, None
        sums = dy.new_empty(self._rows)
        self._launch(dy, x, result, sums)
        return result, sums

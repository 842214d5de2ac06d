"""Tiles of the weight for AMX, which multiplies matrices: the way for bfloat16 where a CPU has it.

The kernels are in csrc/amx. Tiles without a connection are left out, so that square blocks, and all
connections that lie together, gain as much as there are fewer tiles.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from sparselayers.backends.base import Backend
from sparselayers.backends.native import library
from sparselayers.backends.native.bitmaps import rows_of
from sparselayers.backends.native.bits import bitmap_of
from sparselayers.backends.native.lanes import Lanes
from sparselayers.backends.native.library import address, ready, threads
from sparselayers.connectivity import Connectivity
from sparselayers.structures.row_blocks import row_block

_LANES = Lanes()
_ROWS, _COLUMNS = 16, 32  # of a tile
_DTYPE = torch.bfloat16


class Amx(Backend):
    """Multiplies tiles of 16 outputs and 32 inputs by AMX, as many at once as a unit takes.

    Serves bfloat16, added up in float32. To these units denormal numbers are zeros.
    Numbers that are not finite are left to the lanes: a zero of the weight would pass them on.
    """

    name = "amx"

    def unavailable(self) -> str | None:
        """Say what is missing."""
        if (missing := library.unavailable()) or usable():
            return missing
        if (isa := library.isa()[0]) != library.INSTRUCTION_SETS[-1]:
            return f"the kernels run for {isa}, and AMX comes with {library.INSTRUCTION_SETS[-1]}"
        return "this CPU has no AMX, or this system or build no use for it"

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Serve bfloat16 on CPUs with AMX."""
        return device.type == "cpu" and dtype == _DTYPE and usable()

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias."""
        x = rows_of(x)
        batch, (outputs, _) = x.shape[0], connectivity.shape
        y = values.new_empty(batch, outputs)
        finite = _kernels().amx_multiply_bf16(
            bitmap_of(connectivity).kernel,
            values.data_ptr(),
            address(bias),
            x.data_ptr(),
            x.stride(0),
            batch,
            y.data_ptr(),
            outputs,
            _alike(connectivity),
            _threads(batch, connectivity),
        )
        return y if finite else _LANES.forward(x, values, bias, connectivity)

    def grad_input(self, dy: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return dx = dy W."""
        dy = rows_of(dy)
        batch, (_, inputs) = dy.shape[0], connectivity.shape
        dx = values.new_empty(batch, inputs)
        finite = _kernels().amx_grad_input_bf16(
            bitmap_of(connectivity).kernel,
            values.data_ptr(),
            dy.data_ptr(),
            dy.stride(0),
            batch,
            dx.data_ptr(),
            inputs,
            _alike(connectivity),
            _threads(batch, connectivity),
        )
        return dx if finite else _LANES.grad_input(dy, values, connectivity)

    def grad_values(self, dy: Tensor, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return the gradient of the values."""
        dy, x = rows_of(dy), rows_of(x)
        result = x.new_empty(connectivity.nnz)
        _kernels().amx_grad_values_bf16(
            bitmap_of(connectivity).kernel,
            dy.data_ptr(),
            dy.stride(0),
            x.data_ptr(),
            x.stride(0),
            dy.shape[0],
            result.data_ptr(),
            _alike(connectivity),
            _threads(dy.shape[0], connectivity),
        )
        return result


@cache
def usable() -> bool:
    """Return whether AMX is there, and kernels for it run."""
    if library.unavailable() or library.isa()[0] != library.INSTRUCTION_SETS[-1]:
        return False
    found: bool = ready().has_amx()
    return found


@cache
def _kernels() -> ModuleType:
    """Return the kernels; whoever has not been given AMX by the system must not run these.

    Raises ValueError where it is not to be had.
    """
    if not usable():
        raise ValueError(f"backend 'amx' is not available: {Amx().unavailable()}")
    return ready()


def _alike(connectivity: Connectivity) -> bool:
    """Return whether all rows of a tile have the same connections."""
    return row_block(connectivity) == _ROWS


def places(connectivity: Connectivity) -> int:
    """Return how many places lie in tiles that have a connection, found once."""
    return connectivity.derive("places of tiles", lambda: _places(connectivity))


def _places(connectivity: Connectivity) -> int:
    outputs, inputs = connectivity.shape
    across = -(-inputs // _COLUMNS)
    row = torch.arange(outputs).repeat_interleave(connectivity.row_ptr.diff().long())
    tiles = torch.zeros(-(-outputs // _ROWS) * across, dtype=torch.bool)
    tiles[row // _ROWS * across + connectivity.col // _COLUMNS] = True
    return min(int(tiles.sum()) * _ROWS * _COLUMNS, outputs * inputs)


def _threads(batch: int, connectivity: Connectivity) -> int:
    outputs, inputs = connectivity.shape
    return threads(outputs * inputs * (2 + batch // 32))

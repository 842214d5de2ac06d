"""One bit for each place of a weight: the way for many connections (csrc/bitmaps)."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import torch
from torch import Tensor

from sparselayers.backends.base import Gradients
from sparselayers.backends.native import few_bitmaps, library
from sparselayers.backends.native.bits import bitmap_of
from sparselayers.backends.native.compiled import Compiled
from sparselayers.backends.native.lanes import Lanes
from sparselayers.backends.native.library import address, threads
from sparselayers.connectivity import Connectivity

_LANES = Lanes()


class Bitmaps(Compiled):
    """Multiplies tiles of the weights as dense matrices, which come from memory as bits and values.

    A place takes one bit and a half of one, where a column takes 16 for each connection and its
    transpose 32: less memory than columns from 1 connection in 20 places on, and no transpose.
    Numbers that are not finite are left to the lanes: a zero of the weight would pass them on.
    A few rows meet the weights as they are laid out, in registers (few_bitmaps.py). Serves float32
    and bfloat16, which is added up in float32.
    """

    name = "bitmaps"

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias."""
        if few_bitmaps.is_few(x.shape[0]):
            few = few_bitmaps.kept(x.shape[0], connectivity, values.dtype)
            return few.forward(x, values, bias, connectivity)
        x = rows_of(x)
        if not all_finite(x):
            return _LANES.forward(x, values, bias, connectivity)
        batch, (outputs, _) = x.shape[0], connectivity.shape
        y = values.new_empty(batch, outputs)
        bitmap = bitmap_of(connectivity)
        of(values.dtype).bitmap_multiply(
            bitmap.kernel,
            values.data_ptr(),
            address(bias),
            x.data_ptr(),
            x.stride(0),
            batch,
            y.data_ptr(),
            outputs,
            _threads(batch, connectivity),
        )
        return y

    def grad_input(self, dy: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return dx = dy W."""
        if few_bitmaps.is_few(dy.shape[0]):
            few = few_bitmaps.kept(dy.shape[0], connectivity, values.dtype)
            return few.grad_input(dy, values, connectivity)
        dy = rows_of(dy)
        if not all_finite(dy):
            return _LANES.grad_input(dy, values, connectivity)
        batch, (_, inputs) = dy.shape[0], connectivity.shape
        dx = values.new_empty(batch, inputs)
        bitmap = bitmap_of(connectivity)
        of(values.dtype).bitmap_grad_input(
            bitmap.kernel,
            values.data_ptr(),
            dy.data_ptr(),
            dy.stride(0),
            batch,
            dx.data_ptr(),
            inputs,
            _threads(batch, connectivity),
        )
        return dx

    def grad_values(self, dy: Tensor, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return the gradient of the values."""
        if few_bitmaps.is_few(dy.shape[0]):
            few = few_bitmaps.kept(dy.shape[0], connectivity, x.dtype)
            return few.grad_values(dy, x, connectivity)
        dy, x, batch = rows_of(dy), rows_of(x), dy.shape[0]
        result = x.new_empty(connectivity.nnz)
        bitmap = bitmap_of(connectivity)
        of(x.dtype).bitmap_grad_values(
            bitmap.kernel,
            dy.data_ptr(),
            dy.stride(0),
            x.data_ptr(),
            x.stride(0),
            batch,
            result.data_ptr(),
            _threads(batch, connectivity),
        )
        return result

    def backward(
        self,
        dy: Tensor,
        x: Tensor | None,
        values: Tensor,
        connectivity: Connectivity,
        *,
        needs: tuple[bool, bool, bool],
    ) -> Gradients:
        """Return the gradients that are needed, those of a few rows from one pass."""
        if few_bitmaps.is_few(dy.shape[0]):
            few = few_bitmaps.kept(dy.shape[0], connectivity, values.dtype)
            return few.backward(dy, x, values, connectivity, needs=needs)
        return super().backward(dy, x, values, connectivity, needs=needs)


@cache
def of(dtype: torch.dtype) -> SimpleNamespace:
    """Return the kernels for values of `dtype`."""
    names = "multiply", "grad_input", "grad_values", "expand", "compress"
    return library.loops(dtype, *(f"bitmap_{name}" for name in names), "all_finite")


def rows_of(x: Tensor) -> Tensor:
    """Return `x` with the features of a row side by side, perhaps a copy."""
    return x if x.stride(1) == 1 or x.shape[1] == 1 else x.contiguous()


def all_finite(x: Tensor) -> bool:
    """Return whether no number of the matrix `x`, whose rows are contiguous, is NaN or infinite."""
    found: bool = of(x.dtype).all_finite(x.data_ptr(), x.stride(0), *x.shape)
    return found


def _threads(batch: int, connectivity: Connectivity) -> int:
    outputs, inputs = connectivity.shape
    return threads(outputs * inputs * (4 + batch // 8))

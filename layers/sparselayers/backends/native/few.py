"""A few rows of a small layer, by the lanes: what such a call would ask again is kept.

The kernels take a few microseconds for these, less than what has to be found out before they are
called: which way computes them, how the batch is cut, on how many threads, in which arrays. None of
that changes from one such call to the next, and each product is one call.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparselayers.backends.base import Gradients, OneBackward
from sparselayers.backends.native import library, nonzero
from sparselayers.backends.native.lanes import Lanes, rows_of
from sparselayers.backends.native.library import WORTH_A_THREAD, threads_of_product
from sparselayers.connectivity import Connectivity

MOST = 16  # rows of a batch that the widest of registers holds
_LANES = Lanes()


class Few(OneBackward):
    """The products of so many rows by one layer, on so many threads as there are when it is made.

    `connectivity` is always that which it was made for.
    """

    name = "native"

    def __init__(self, batch: int, connectivity: Connectivity, dtype: torch.dtype) -> None:
        self._batch = batch
        self._outputs, self._inputs = connectivity.shape
        self._connections = connectivity.nnz
        self._threads = threads_of_product(batch, connectivity.nnz)
        self._may_skip = nonzero.may_gain(batch, connectivity, dtype)
        self._told = rows_of(connectivity)  # whose arrays the kernels read
        self._rows: Any = self._told.kernel
        kernels = library.loops(dtype, "few_multiply", "few_backward")
        self._multiply, self._backward = kernels.few_multiply, kernels.few_backward

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Serve what the lanes do."""
        return _LANES.supports(device, dtype)

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias."""
        if self._may_skip and nonzero.gains(x, connectivity):
            return nonzero.forward(x, values, bias, connectivity)
        y = values.new_empty(self._batch, self._outputs)
        self._multiply(
            self._rows,
            values.data_ptr(),
            0 if bias is None else bias.data_ptr(),
            x.data_ptr(),
            *x.stride(),
            self._batch,
            y.data_ptr(),
            self._threads,
        )
        return y

    def backward(
        self,
        dy: Tensor,
        x: Tensor | None,
        values: Tensor,
        connectivity: Connectivity,
        *,
        needs: tuple[bool, bool, bool],
    ) -> Gradients:
        """Return the gradients that are needed: all from one pass, or else as the lanes do."""
        if x is None or not (needs[0] and needs[1]):
            if x is not None:
                x = _LANES.arrange(x, connectivity)
            return _LANES.backward(dy, x, values, connectivity, needs=needs)
        dx = values.new_empty(self._batch, self._inputs)
        dvalues = values.new_empty(self._connections)
        dbias = values.new_empty(self._outputs) if needs[2] else None
        self._backward(
            self._rows,
            values.data_ptr(),
            dy.data_ptr(),
            *dy.stride(),
            x.data_ptr(),
            *x.stride(),
            self._batch,
            dx.data_ptr(),
            dvalues.data_ptr(),
            0 if dbias is None else dbias.data_ptr(),
            self._threads,
        )
        return Gradients(dx, dvalues, dbias)


def is_small(batch: int, connectivity: Connectivity, dtype: torch.dtype) -> bool:
    """Return whether such a call is as short as what precedes it, and both gradients are one pass.

    A larger one is arranged by several threads; a very sparse one has more inputs than
    connections, and would add up a gradient for each thread that is mostly zeros.
    """
    if not 0 < batch <= MOST or dtype not in library.SUFFIXES:
        return False
    unit = library.loops(dtype, "unit").unit(batch)
    if batch > unit or batch * max(connectivity.shape) > WORTH_A_THREAD:
        return False
    sums = threads_of_product(batch, connectivity.nnz) * connectivity.shape[1] * unit
    return bool(sums <= 2 * connectivity.nnz)

"""A batch of one block, by the lanes: what is asked in every step of training is kept.

Each of its products is one call, which arranges what it reads (csrc/README.md). How it is cut, on
how many threads and in which arrays is kept (short.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparselayers.backends.base import Gradients
from sparselayers.backends.native import lane_bits, library
from sparselayers.backends.native.lane_bits import told_of, transpose_of
from sparselayers.backends.native.library import threads_of_product
from sparselayers.backends.native.short import Short
from sparselayers.connectivity import Connectivity

MOST = 128  # rows of the largest of blocks
_DTYPES = (torch.float32, torch.float64)


class OneBlock(Short):
    """The products of one block, of which kernels read whole registers, however it lies."""

    def __init__(self, batch: int, connectivity: Connectivity, dtype: torch.dtype) -> None:
        self._by_bits = lane_bits.serve(batch, dtype, connectivity)
        work, cut = (batch, connectivity.nnz, dtype), not self._by_bits
        told = told_of(connectivity, by_bits=self._by_bits)
        super().__init__(batch, connectivity, dtype, told, threads_of_product(*work, cut=cut))
        self._threads_of_both = threads_of_product(*work, products=2, cut=cut)
        kernels = library.loops(dtype, "multiply", "backward")
        self._multiply, self._backward = kernels.multiply, kernels.backward

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias."""
        del connectivity
        y = values.new_empty(self._batch, self._outputs)
        self._multiply(
            self._layer,
            values.data_ptr(),
            0 if bias is None else bias.data_ptr(),
            x.data_ptr(),
            *x.stride(),
            self._batch,
            y.data_ptr(),
            self._outputs,
            1,
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
        """Return the gradients that are needed."""
        x = x if needs[1] else None
        dx, dvalues, dbias = found = self._gradients(values, (needs[0], x is not None, needs[2]))
        columns = None if dx is None else transpose_of(connectivity, by_bits=self._by_bits)
        self._backward(
            self._layer,
            None if columns is None else columns.kernel,
            values.data_ptr(),
            dy.data_ptr(),
            *dy.stride(),
            *((0, 0, 0) if x is None else (x.data_ptr(), *x.stride())),
            self._batch,
            0 if dx is None else dx.data_ptr(),
            self._inputs,
            1,
            0 if dvalues is None else dvalues.data_ptr(),
            0 if dbias is None else dbias.data_ptr(),
            self._threads_of_both,
        )
        return found


def is_one_block(batch: int, dtype: torch.dtype) -> bool:
    """Return whether a batch is one block of whole registers, of more than one."""
    if not 0 < batch <= MOST or dtype not in _DTYPES:
        return False
    kernels = library.loops(dtype, "unit", "blocks", "pitch")
    whole: bool = kernels.pitch(batch) == batch and kernels.blocks(batch) == 1
    return whole and batch > kernels.unit(batch)

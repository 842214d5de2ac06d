"""Outputs that share their inputs, several at a time: the way for row blocks (csrc/row_blocks)."""

from __future__ import annotations

from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparselayers.backends.base import Gradients, OneBackward
from sparselayers.backends.native import library
from sparselayers.backends.native.compiled import Compiled
from sparselayers.backends.native.library import address, ready, threads_of_product
from sparselayers.backends.native.told import NUMPY, Told, tensor_of
from sparselayers.connectivity import Connectivity
from sparselayers.structures.row_blocks import HEIGHTS, row_block

# Layers of no more inputs name them in 16 bits.
_FEATURES_16 = 1 << 16
# A larger batch adds the gradient of the values up in several turns, and sums want float32.
_ONE_BLOCK = 128
# Columns of a part, at most. Products take as many parts at once as L2 holds of their batch.
_PART_COLUMNS = 512


class RowBlocks(Compiled, OneBackward):
    """Multiplies blocks of 4, 8 or 16 outputs that share their inputs.

    One load of an input serves several outputs, as it does in a dense product, and columns are
    named once for all outputs of a block. A batch of a few gathers what a block meets once; its
    values then come by whole registers. Serves float32 and bfloat16, which is added up in float32.
    """

    name = "row_blocks"
    turned_by_product = -1

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias."""
        y = values.new_empty(x.shape[0], connectivity.shape[0])
        _multiply(x, values, bias, connectivity, y)
        return y

    def product(self, x: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return y = x Wᵀ, written feature by feature."""
        y = values.new_empty(connectivity.shape[0], x.shape[0]).t()
        _multiply(x, values, None, connectivity, y)
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
        """Return the gradients that are needed, from one arrangement of dy."""
        blocks, batch = blocks_of(connectivity), dy.shape[0]
        needs_input, needs_values, needs_bias = needs
        if values.dtype == torch.bfloat16 and needs_values and batch > _ONE_BLOCK:
            return self._rounded_once(dy, x, values, connectivity, needs)
        found = Gradients(
            values.new_empty(batch, connectivity.shape[1]) if needs_input else None,
            values.new_empty(connectivity.nnz) if needs_values and x is not None else None,
            dy.sum(0) if needs_bias else None,
        )
        _of(values.dtype).row_blocks_backward(
            blocks.kernel,
            values.data_ptr(),
            *_place(dy),
            *_place(x if needs_values else None),
            batch,
            *_place(found.input),
            address(found.values),
            threads_of_product(batch, connectivity.nnz, values.dtype, products=2, cut=False),
        )
        return found


def serves(connectivity: Connectivity) -> bool:
    """Return whether these connections are row blocks, and not too many to count in 32 bits."""
    counted = max(*connectivity.shape, connectivity.nnz)
    return counted <= torch.iinfo(torch.int32).max and row_block(connectivity) > 1


def blocks_of(connectivity: Connectivity) -> Told:
    """Return what the kernels know of the blocks, made once.

    Raises ValueError for layers that have none.
    """
    return connectivity.derive("row blocks", lambda: _make(connectivity))


def _make(connectivity: Connectivity) -> Told:
    if not serves(connectivity):
        *most, least = HEIGHTS
        heights = f"{', '.join(map(str, most))} or {least}"
        raise ValueError(
            f"row blocks are {heights} outputs in a row with the same inputs, throughout a layer "
            f"of fewer than 2³¹ connections; this one of shape {connectivity.shape} has none: "
            "choose backend 'native'"
        )
    height, (outputs, inputs) = row_block(connectivity), connectivity.shape
    row_ptr, of_rows = connectivity.row_ptr.int(), connectivity.col.int()
    count = outputs // height
    parts = max(1, -(-inputs // _PART_COLUMNS))
    wide = inputs > _FEATURES_16
    ptr, begin = row_ptr.new_empty(count + 1), row_ptr.new_empty(parts + 1, count)
    col = row_ptr.new_empty(connectivity.nnz // height, dtype=torch.int32 if wide else torch.uint16)
    longest = int(row_ptr.diff().max())
    kernels = ready()
    kernel = (kernels.RowBlocks32 if wide else kernels.RowBlocks16)(
        outputs,
        inputs,
        height,
        longest,
        parts,
        ptr.data_ptr(),
        col.data_ptr(),
        begin.data_ptr(),
    )
    kernel.fill(row_ptr.data_ptr(), of_rows.data_ptr())
    columns = partial(_columns, ptr.numpy(), col.numpy(), height, NUMPY[connectivity.dtype])
    connectivity.keep_in((ptr, col), columns)
    return Told(kernel, (ptr, col, begin))


def _columns(
    ptr: Any, col: Any, height: int, dtype: Any, rows: slice, connections: slice
) -> Tensor:
    """Return the columns of some rows: those of its block, for each."""
    block = np.arange(rows.start, rows.stop) // height
    length = (ptr[1:] - ptr[:-1])[block]
    before = length.cumsum() - length
    place = np.arange(connections.stop - connections.start) + (ptr[block] - before).repeat(length)
    return tensor_of(col[place].astype(dtype))


@cache
def _of(dtype: torch.dtype) -> SimpleNamespace:
    """The kernels for one type of values."""
    return library.loops(dtype, "row_blocks_multiply", "row_blocks_backward")


def _multiply(
    x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity, y: Tensor
) -> None:
    blocks = blocks_of(connectivity)
    _of(values.dtype).row_blocks_multiply(
        blocks.kernel,
        values.data_ptr(),
        address(bias),
        *_place(x),
        x.shape[0],
        *_place(y),
        threads_of_product(x.shape[0], values.numel(), values.dtype, cut=False),
    )


def _place(matrix: Tensor | None) -> tuple[int, int, int]:
    """The address and the strides of a matrix, zeros where there is none."""
    if matrix is None:
        return 0, 0, 0
    batch_stride, feature_stride = matrix.stride()
    if matrix.shape[1] == 1:
        feature_stride = 1
    return matrix.data_ptr(), batch_stride, feature_stride

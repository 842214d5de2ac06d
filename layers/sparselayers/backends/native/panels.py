"""Panels of the weights, laid out with their zeros, for PyTorch's dense product.

The way for large batches where few weights are missing, or where a CPU has units for dense products
alone (AMX): the time of the dense product and of laying out, the memory of the sparse layer and of
one panel.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from sparselayers.backends.native.bitmaps import all_finite, of, rows_of
from sparselayers.backends.native.bits import WORD, bitmap_of
from sparselayers.backends.native.compiled import Compiled
from sparselayers.backends.native.lanes import Lanes
from sparselayers.backends.native.library import address, threads
from sparselayers.connectivity import Connectivity

_LANES = Lanes()
# A panel is a quarter of the weight, within these bounds: a dense product of fewer rows or columns
# is slower (2048², batch 512: 0.57 to 0.87 of the whole product at 1 MB, 0.94 at 8 MB), and
# larger panels gain nothing. It has at least so many rows.
_LEAST_BYTES, _MOST_BYTES = 4 << 20, 16 << 20
_LEAST = 128


class Panels(Compiled):
    """Serves float32 and bfloat16 on CPUs, by PyTorch's dense product of one panel at a time.

    Numbers that are not finite are left to the lanes: a zero of the weight would pass them on.
    """

    name = "panels"
    turned_by_product = 0

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias."""
        if not all_finite(rows_of(x)):
            return _LANES.forward(x, values, bias, connectivity)
        outputs, inputs = connectivity.shape
        y = values.new_empty(x.shape[0], outputs)
        with _as_it_is():
            for begin, end in _panels(outputs, inputs, values):
                panel = _laid_out(values, connectivity, (begin, end), (0, inputs)).t()
                if bias is None:
                    torch.mm(x, panel, out=y[:, begin:end])
                else:
                    torch.addmm(bias[begin:end], x, panel, out=y[:, begin:end])
        return y

    def product(self, x: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return y = x Wᵀ, a panel's outputs at a time as they are to lie."""
        if not all_finite(rows_of(x.t())):
            return _LANES.product(x, values, connectivity)
        outputs, inputs = connectivity.shape
        y = values.new_empty(outputs, x.shape[0])
        with _as_it_is():
            for begin, end in _panels(outputs, inputs, values):
                panel = _laid_out(values, connectivity, (begin, end), (0, inputs))
                torch.mm(panel, x.t(), out=y[begin:end])
        return y.t()

    def grad_input(self, dy: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return dx = dy W."""
        if not all_finite(rows_of(dy)):
            return _LANES.grad_input(dy, values, connectivity)
        outputs, inputs = connectivity.shape
        dx = values.new_empty(dy.shape[0], inputs)
        with _as_it_is():
            for begin, end in _panels(inputs, outputs, values):
                panel = _laid_out(values, connectivity, (0, outputs), (begin, end))
                torch.mm(dy, panel, out=dx[:, begin:end])
        return dx

    def grad_values(self, dy: Tensor, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return the gradient of the values."""
        outputs, inputs = connectivity.shape
        result = x.new_empty(connectivity.nnz)
        bitmap, dy = bitmap_of(connectivity), dy.t()
        for begin, end in _panels(outputs, inputs, x):
            with _as_it_is():
                panel = torch.mm(dy[begin:end], x)
            of(x.dtype).bitmap_compress(
                bitmap.kernel,
                begin,
                end,
                panel.data_ptr(),
                inputs,
                result.data_ptr(),
                threads(panel.numel()),
            )
        return result


@contextmanager
def _as_it_is() -> Iterator[None]:
    """Have PyTorch's products in the type that they are asked for, and outside of any graph."""
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        yield


def _panels(length: int, width: int, like: Tensor) -> Iterator[tuple[int, int]]:
    """Cut `length` into parts of equal size, whole words, for panels of `width`."""
    row = width * like.element_size()
    size = min(max(length * row // 4, _LEAST_BYTES), _MOST_BYTES)
    count = -(-length // max(_LEAST, size // row))
    step = -(-length // (count * WORD)) * WORD
    for begin in range(0, length, step):
        yield begin, min(begin + step, length)


def _laid_out(
    values: Tensor, connectivity: Connectivity, rows: tuple[int, int], columns: tuple[int, int]
) -> Tensor:
    """Return those rows and columns of the weight, with its zeros; columns begin with a word."""
    shape = rows[1] - rows[0], columns[1] - columns[0]
    panel = values.new_empty(shape)
    words = columns[0] // WORD, -(-columns[1] // WORD)
    bitmap = bitmap_of(connectivity)
    of(values.dtype).bitmap_expand(
        bitmap.kernel,
        *rows,
        *words,
        address(values),
        panel.data_ptr(),
        shape[1],
        threads(panel.numel()),
    )
    return panel

"""As bits.py, bitmaps.py, few_bitmaps.py and panels.py of sparselayers/backends/native."""

from __future__ import annotations

from typing import Any

from sparsebench.regression.counted.memory import Memory, given
from sparsebench.regression.counted.way import INPUTS, NOWHERE, OUTPUTS, THREADS, Way, Workload

_WORD = 64
_FEW = 4  # rows of a batch that meet the weights in registers


class Bitmaps(Way):
    """One bit for each place; numbers that are not finite are looked for first."""

    name = "bitmaps"
    products: tuple[str, ...] = ("arrange", "y", "dx", "dweights", "backward")
    of_256 = 77

    def __init__(self, kernels: Any) -> None:
        super().__init__(kernels)
        words = OUTPUTS * INPUTS // _WORD
        self._col = Memory.of("i32", self.layer.col)
        self._kept = (
            Memory("u64", words), Memory("u16", words), Memory.of("i64", self.layer.row_ptr)
        )  # fmt: skip
        self.bitmap = kernels.Bitmap(OUTPUTS, INPUTS, *(kept.address for kept in self._kept))
        self.bitmap.fill(self.ptr.address, self._col.address, THREADS)

    def arrange(self, work: Workload) -> None:
        """Set a bit for each connection."""
        work.call(self.bitmap.fill, self.ptr.address, self._col.address, THREADS)

    def y(self, work: Workload) -> None:
        """Return y = x Wᵀ + bias."""
        (x, x_pitch, _), (y, y_pitch, _) = work.x(), work.y()
        layer = (self.bitmap, work.values(), work.bias())
        if work.batch <= _FEW:
            few = self.kernel("bitmap_few_multiply", work)
            work.call(few, *layer, *work.x(), work.batch, y, THREADS)
            return
        work.call(self.kernel("all_finite", work), x, x_pitch, work.batch, INPUTS)
        multiply = self.kernel("bitmap_multiply", work)
        work.call(multiply, *layer, x, x_pitch, work.batch, y, y_pitch, THREADS)

    def dx(self, work: Workload) -> None:
        """Return dx = dy W."""
        if work.batch <= _FEW:
            self._few_backward(work, dx=True)
            return
        (dy, dy_pitch, _), (dx, dx_pitch, _) = work.dy(), work.dx()
        work.call(self.kernel("all_finite", work), dy, dy_pitch, work.batch, OUTPUTS)
        grad_input = self.kernel("bitmap_grad_input", work)
        layer = (self.bitmap, work.values())
        work.call(grad_input, *layer, dy, dy_pitch, work.batch, dx, dx_pitch, THREADS)

    def dweights(self, work: Workload) -> None:
        """Return the gradient of the weights."""
        if work.batch <= _FEW:
            self._few_backward(work, dweights=True)
            return
        (dy, dy_pitch, _), (x, x_pitch, _) = work.dy(), work.x()
        grad_values = self.kernel("bitmap_grad_values", work)
        layer = (self.bitmap, dy, dy_pitch, x, x_pitch)
        work.call(grad_values, *layer, work.batch, work.dweights(), THREADS)

    def backward(self, work: Workload) -> None:
        """Return both gradients; of a few rows, and of the bias, in one pass."""
        if work.batch <= _FEW:
            self._few_backward(work, dx=True, dweights=True, dbias=True)
            return
        self.dx(work)
        self.dweights(work)

    def _few_backward(
        self, work: Workload, *, dx: bool = False, dweights: bool = False, dbias: bool = False
    ) -> None:
        few = self.kernel("bitmap_few_backward", work)
        x = work.x() if dweights else NOWHERE
        results = (
            work.dx()[0] if dx else 0,
            work.dweights() if dweights else 0,
            work.result("dbias", OUTPUTS) if dbias else 0,
        )
        layer = (self.bitmap, work.values(), *work.dy(), *x)
        work.call(few, *layer, work.batch, *results, THREADS)


class Panels(Bitmaps):
    """What lays the weight out for PyTorch's dense product, and picks the gradient of the weights.

    The product itself is not ours to count.
    """

    name = "panels"
    products = ("expand", "compress")
    batches = (0,)

    def expand(self, work: Workload) -> None:
        """Return the weight with its zeros."""
        weight = work.result("weight", OUTPUTS * INPUTS)
        expand, places = self.kernel("bitmap_expand", work), (0, OUTPUTS, 0, INPUTS // _WORD)
        work.call(expand, self.bitmap, *places, work.values(), weight, INPUTS, THREADS)

    def compress(self, work: Workload) -> None:
        """Return the numbers of a matrix where connections are."""
        matrix = given(work.kind, OUTPUTS * INPUTS, 5).address
        compress, picked = self.kernel("bitmap_compress", work), work.dweights()
        work.call(compress, self.bitmap, 0, OUTPUTS, matrix, INPUTS, picked, THREADS)

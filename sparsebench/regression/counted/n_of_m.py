"""As sparselayers/backends/native/n_of_m.py."""

from __future__ import annotations

from typing import Any

from sparsebench.regression.counted.memory import Memory
from sparsebench.regression.counted.way import INPUTS, OUTPUTS, THREADS, Way, Workload


class NOfFour(Way):
    """2:4; of larger batches the kernels repeat what they do for four."""

    name = "n_of_4"
    products = ("arrange", "y", "dx", "dweights", "backward")
    batches = (1, 4)
    n_of_m = (2, 4)

    def __init__(self, kernels: Any) -> None:
        super().__init__(kernels)
        words = self.layer.nnz // 8
        self._col = Memory.of("i32", self.layer.col)
        self._places, self._sources = Memory("i32", words), Memory("i32", words)
        self._layer = kernels.NofM(OUTPUTS, INPUTS, *self.n_of_m, self._places.address)
        self._layer.fill(self._col.address, *self._told, THREADS)

    @property
    def _told(self) -> tuple[int, int]:
        return self._places.address, self._sources.address

    def arrange(self, work: Workload) -> None:
        """Say where each connection is among its inputs, and which each input has."""
        work.call(self._layer.fill, self._col.address, *self._told, THREADS)

    def y(self, work: Workload) -> None:
        """Return y = x Wᵀ + bias."""
        (x, x_pitch, _), (y, y_pitch, _) = work.x(), work.y()
        layer = (self._layer, work.values(), work.bias())
        multiply = self.kernel("n_of_m_multiply", work)
        work.call(multiply, *layer, x, x_pitch, work.batch, y, y_pitch, THREADS)

    def dx(self, work: Workload) -> None:
        """Return dx = dy W; numbers that are not finite are looked for first."""
        self._backward(work, dx=True)

    def dweights(self, work: Workload) -> None:
        """Return the gradient of the weights."""
        self._backward(work, dweights=True)

    def backward(self, work: Workload) -> None:
        """Return both gradients, in one pass."""
        self._backward(work, dx=True, dweights=True)

    def _backward(self, work: Workload, *, dx: bool = False, dweights: bool = False) -> None:
        dy, dy_pitch, _ = work.dy()
        if dx:
            work.call(self.kernel("all_finite", work), dy, dy_pitch, work.batch, OUTPUTS)
        x = work.x()[:2] if dweights else (0, 0)
        to, sources = (work.dx()[0], self._sources.address) if dx else (0, 0)
        results = (to, INPUTS, work.dweights() if dweights else 0)
        layer = (self._layer, work.values(), sources, dy, dy_pitch)
        backward = self.kernel("n_of_m_backward", work)
        work.call(backward, *layer, *x, work.batch, *results, THREADS)


class NOfEight(NOfFour):
    """2:8."""

    name = "n_of_8"
    n_of_m = (2, 8)

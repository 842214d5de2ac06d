"""As sparselayers/backends/native/few.py: each product of a few rows is one call."""

from __future__ import annotations

from sparsebench.regression.counted.lanes import Lanes
from sparsebench.regression.counted.way import OUTPUTS, THREADS, Workload


class Few(Lanes):
    """No more rows than a register holds, arranged by what multiplies them."""

    name = "few"
    products = ("y", "backward")
    batches = (1, 8)

    def y(self, work: Workload) -> None:
        """Return y = x Wᵀ + bias."""
        multiply, (y, *_) = self.kernel("few_multiply", work), work.y()
        layer = (self._rows, work.values(), work.bias())
        work.call(multiply, *layer, *work.x(), work.batch, y, THREADS)

    def backward(self, work: Workload) -> None:
        """Return all gradients, of one pass."""
        backward, (dx, *_) = self.kernel("few_backward", work), work.dx()
        results = (dx, work.dweights(), work.result("dbias", OUTPUTS))
        given = (self._rows, work.values(), *work.dy(), *work.x(), work.batch)
        work.call(backward, *given, *results, THREADS)

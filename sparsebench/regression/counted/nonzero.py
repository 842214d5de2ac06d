"""As sparselayers/backends/native/nonzero.py, the looks at the input included."""

from __future__ import annotations

from sparsebench.regression.counted.lanes import Lanes
from sparsebench.regression.counted.memory import given
from sparsebench.regression.counted.way import INPUTS, THREADS, Workload


class Nonzero(Lanes):
    """Of inputs that are mostly zeros the connections of the others, column by column."""

    name = "nonzero"
    products = ("y",)
    batches = (1, 8)
    inputs_of_256 = 13

    def y(self, work: Workload) -> None:
        """Return y = x Wᵀ + bias, and before that whether it pays, and on how many threads."""
        x = given(work.kind, work.batch * INPUTS, 3, self.inputs_of_256)
        place = (x.address, INPUTS, 1, work.batch)
        visited = (self.kernel("visited", work), self._columns, *place)
        work.call(self.kernel("nonzero", work), *place, INPUTS)
        work.call(*visited)
        work.call(*visited)
        layer = (self._columns, work.values(), work.bias())
        work.call(self.kernel("multiply_nonzero", work), *layer, *place, *work.y(), THREADS)

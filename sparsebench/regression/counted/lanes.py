"""As rows.py, arranging.py and lanes.py of sparselayers/backends/native; a batch is one block."""

from __future__ import annotations

from typing import Any

from sparsebench.regression.counted.memory import Memory
from sparsebench.regression.counted.way import (
    INPUTS,
    NOWHERE,
    OUTPUTS,
    THREADS,
    Place,
    Way,
    Workload,
    lengths,
)

_TILE_CONNECTIONS = 12


class Lanes(Way):
    """Rows of connections, lanes of the batch, which is laid out feature by feature."""

    name = "lanes"
    products: tuple[str, ...] = ("arrange", "y", "dx", "dweights", "backward")

    def __init__(self, kernels: Any) -> None:
        super().__init__(kernels)
        nnz, ptr = self.layer.nnz, self.ptr.address
        self._col = Memory.of("u16", self.layer.col)
        rows = kernels.Rows16(
            OUTPUTS, INPUTS, *lengths(self.layer.row_ptr), ptr, self._col.address, 0, 0
        )
        self._column_ptr, self._entries = Memory("i32", INPUTS + 1), Memory("u16", 2 * nnz)
        self._transposed = (self._column_ptr.address, self._entries.address)
        rows.transpose(*self._transposed, THREADS)
        columns = kernels.Rows16(
            INPUTS, OUTPUTS, *lengths(self._column_ptr.numbers()),
            self._column_ptr.address, 0, self._entries.address, ptr,
        )  # fmt: skip
        self._row_tiles = nnz // OUTPUTS // _TILE_CONNECTIONS
        self._tile_ptr = Memory("i32", (self._row_tiles + 1) * OUTPUTS)
        self._tile_ptr_of_columns = Memory("i32", (nnz // INPUTS // _TILE_CONNECTIONS + 1) * INPUTS)
        self._rows = _tiled(rows, self._row_tiles, INPUTS, self._tile_ptr)
        self._columns = _tiled(
            columns, nnz // INPUTS // _TILE_CONNECTIONS, OUTPUTS, self._tile_ptr_of_columns
        )

    def arrange(self, work: Workload) -> None:
        """Transpose the connections, and cut their columns into tiles."""
        work.call(self._rows.transpose, *self._transposed, THREADS)
        width = -(-INPUTS // self._row_tiles)
        tile_ptr = self._tile_ptr.address
        work.call(self._rows.find_tiles, self._row_tiles, width, tile_ptr, THREADS)

    def y(self, work: Workload) -> None:
        """Return y = x Wᵀ + bias."""
        x = self._arranged(work, work.x(), INPUTS)
        multiply = self.kernel("multiply", work)
        layer = (self._rows, work.values(), work.bias())
        work.call(multiply, *layer, *x, work.batch, *work.y(), THREADS)

    def dx(self, work: Workload) -> None:
        """Return dx = dy W."""
        dy = self._arranged(work, work.dy(), OUTPUTS)
        self._backward(work, self._columns, dy, NOWHERE, work.dx(), 0, 0)

    def dweights(self, work: Workload) -> None:
        """Return the gradient of the weights."""
        dy = self._arranged(work, work.dy(), OUTPUTS)
        x = self._arranged(work, work.x(), INPUTS)
        self._backward(work, None, dy, x, NOWHERE, work.dweights(), 0)

    def backward(self, work: Workload) -> None:
        """Return all gradients; of a batch of one register those of x and weights in one pass."""
        dy = self._arranged(work, work.dy(), OUTPUTS)
        x = self._arranged(work, work.x(), INPUTS)
        dx, dweights, dbias = work.dx(), work.dweights(), work.result("dbias", OUTPUTS)
        unit = self.kernel("unit", work)(work.batch)
        if work.batch > unit:
            self._backward(work, self._columns, dy, x, dx, dweights, dbias)
            return
        narrow = self.kernel("backward_narrow", work)
        layer = (self._rows, work.values(), dy[0], dy[2], x[0], x[2], work.batch)
        work.call(narrow, *layer, *dx, dweights, dbias, THREADS)

    def _backward(
        self,
        work: Workload,
        columns: Any,
        dy: Place,
        x: Place,
        dx: Place,
        dweights: int,
        dbias: int,
    ) -> None:
        backward = self.kernel("backward", work)
        layer = (self._rows, columns, work.values(), *dy, *x, work.batch)
        work.call(backward, *layer, *dx, dweights, dbias, THREADS)

    def _arranged(self, work: Workload, batch: Place, features: int) -> Place:
        """Add what lays a batch of one register out by feature; products do so with larger ones."""
        as_it_is = work.batch == 1 and work.kind == "f32"
        if as_it_is or work.batch > self.kernel("unit", work)(work.batch):
            return batch
        pitch = self.kernel("pitch", work)(work.batch)
        to = work.room("f32", features * pitch)
        work.call(self.kernel("pack", work), *batch, work.batch, features, to, pitch, THREADS)
        return to, 1, pitch


def _tiled(rows: Any, tiles: int, features: int, tile_ptr: Memory) -> Any:
    if tiles < 2:
        return rows
    rows.find_tiles(tiles, -(-features // tiles), tile_ptr.address, THREADS)
    return rows.tiled(tiles, tile_ptr.address)

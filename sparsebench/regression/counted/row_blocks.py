"""As sparselayers/backends/native/row_blocks.py; the columns are one part."""

from __future__ import annotations

from typing import Any

from sparsebench.regression.counted.memory import Memory
from sparsebench.regression.counted.way import (
    INPUTS,
    NOWHERE,
    OUTPUTS,
    THREADS,
    Way,
    Workload,
    lengths,
)


class RowBlocks(Way):
    """Eight outputs in a row have the same inputs."""

    name = "row_blocks"
    products = ("arrange", "y", "dx", "dweights", "backward")
    height = 8

    def __init__(self, kernels: Any) -> None:
        super().__init__(kernels)
        count = OUTPUTS // self.height
        _, longest = lengths(self.layer.row_ptr)
        self._col = Memory.of("i32", self.layer.col)
        self._kept = (
            Memory("i32", count + 1),
            Memory("u16", self.layer.nnz // self.height),
            Memory("i32", 2 * count),
        )
        self._blocks = kernels.RowBlocks16(
            OUTPUTS, INPUTS, self.height, longest, 1, *(kept.address for kept in self._kept)
        )
        self._blocks.fill(self.ptr.address, self._col.address)

    def arrange(self, work: Workload) -> None:
        """Name the columns of all blocks."""
        work.call(self._blocks.fill, self.ptr.address, self._col.address)

    def y(self, work: Workload) -> None:
        """Return y = x Wᵀ + bias."""
        multiply = self.kernel("row_blocks_multiply", work)
        layer = (self._blocks, work.values(), work.bias())
        work.call(multiply, *layer, *work.x(), work.batch, *work.y(), THREADS)

    def dx(self, work: Workload) -> None:
        """Return dx = dy W."""
        self._backward(work, dx=True)

    def dweights(self, work: Workload) -> None:
        """Return the gradient of the weights."""
        self._backward(work, dweights=True)

    def backward(self, work: Workload) -> None:
        """Return both gradients."""
        self._backward(work, dx=True, dweights=True)

    def _backward(self, work: Workload, *, dx: bool = False, dweights: bool = False) -> None:
        backward = self.kernel("row_blocks_backward", work)
        x = work.x() if dweights else NOWHERE
        results = (*(work.dx() if dx else NOWHERE), work.dweights() if dweights else 0)
        layer = (self._blocks, work.values(), *work.dy(), *x)
        work.call(backward, *layer, work.batch, *results, THREADS)

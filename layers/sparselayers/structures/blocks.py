"""Blocks: neighbouring outputs share neighbouring inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparselayers.accumulation import wide_type
from sparselayers.connectivity import Connectivity, check_shape
from sparselayers.structures.selection import largest
from sparselayers.structures.structure import Structure
from sparselayers.topologies.blocks import blocks, grid_of, keys_of_blocks, number_of_blocks
from sparselayers.topologies.keys import contains, keys_of


@dataclass(frozen=True)
class Blocks(Structure):
    """Blocks of `rows` outputs × `cols` inputs are there as a whole or not at all: 8x1, 16x16.

    Blocks lie on a grid, the first at output 0 and input 0. A block counts as the sum of its
    scores: of magnitudes where it is pruned (Mao et al. 2017, Exploring the Regularity of Sparse
    Structure, arXiv 1705.08922, section 3), of gradient magnitudes where it grows.

    Raises ValueError for sizes that are no positive integers.
    """

    rows: int
    cols: int

    def __post_init__(self) -> None:
        grid_of((self.rows, self.cols), self.block)

    @property
    def block(self) -> tuple[int, int]:
        """The outputs and inputs of a block."""
        return self.rows, self.cols

    @property
    def name(self) -> str:
        """The name, such as "8x1"."""
        return f"{self.rows}x{self.cols}"

    def check_shape(self, shape: tuple[int, int]) -> None:
        """Raise ValueError where blocks do not divide the layer, with the sizes that do."""
        grid_of(check_shape(shape), self.block)

    def check(self, connectivity: Connectivity) -> None:
        """Raise ValueError, naming the first place that a block lacks."""
        self.units(connectivity)

    def nearest(self, shape: tuple[int, int], sparsity: float | None) -> float:
        """Return the sparsity of the nearest whole number of blocks."""
        rows, columns = grid_of(check_shape(shape), self.block)
        return 1.0 - self._count(shape, sparsity) / (rows * columns)

    def draw(
        self,
        shape: tuple[int, int],
        sparsity: float | None = 0.9,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Connectivity:
        """Return random blocks."""
        self._count(shape, sparsity)
        assert sparsity is not None
        return blocks(shape, sparsity, block=self.block, generator=generator, device=device)

    def select(self, connectivity: Connectivity, scores: Tensor, sparsity: float | None) -> Tensor:
        """Return which connections stay, those of the blocks with the largest sums."""
        count = self._count(connectivity.shape, sparsity)
        sums = self.sums(connectivity, scores)
        return self.of_units(connectivity, largest(sums, min(count, sums.numel())))

    def grid(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return how many blocks there are in a column and in a row."""
        return grid_of(shape, self.block)

    def units(self, connectivity: Connectivity) -> Tensor:
        """Return the ascending keys of the blocks; ValueError where one is not whole."""
        return self._whole(connectivity)[0]

    def keys(self, units: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return the ascending keys of the connections of blocks."""
        return keys_of_blocks(units, shape, self.block)

    def sums(self, connectivity: Connectivity, scores: Tensor) -> Tensor:
        """Return the sums of the scores of blocks; ValueError where one is not whole."""
        found, number = self._whole(connectivity)
        wide = wide_type(scores.dtype)
        return scores.new_zeros(found.numel(), dtype=wide).index_add_(0, number, scores.to(wide))

    def of_units(self, connectivity: Connectivity, chosen: Tensor) -> Tensor:
        """Return what is chosen of the block of each connection."""
        return chosen[self._numbers(connectivity)[1]]

    def pooled(self, scores: Tensor) -> Tensor:
        """Return the sums of blocks of whole rows."""
        rows, columns = grid_of((scores.shape[0], scores.shape[1]), self.block)
        return scores.view(rows, self.rows, columns, self.cols).sum((1, 3))

    def _count(self, shape: tuple[int, int], sparsity: float | None) -> int:
        if sparsity is None:
            raise ValueError(f"sparsity is missing: blocks of {self} are of any in [0, 1)")
        return number_of_blocks(check_shape(shape), sparsity, self.block)

    def _whole(self, connectivity: Connectivity) -> tuple[Tensor, Tensor]:
        """Return what `_numbers` does, or raise ValueError where a block is not whole."""
        found, number = self._numbers(connectivity)
        there = number >= 0
        counts = torch.bincount(number[there], minlength=found.numel())
        if not bool(there.all()) or not bool((counts == self.rows * self.cols).all()):
            self._complain(connectivity)
        return found, number

    def _numbers(self, connectivity: Connectivity) -> tuple[Tensor, Tensor]:
        """Return the keys of the blocks whose first place is there, and whose each connection is.

        −1 stands for a connection of another block.
        """
        across = self.grid(connectivity.shape)[1]
        row, col = connectivity.row.long(), connectivity.col.long()
        first = (row % self.rows == 0) & (col % self.cols == 0)
        block = row.div_(self.rows, rounding_mode="floor").mul_(across).add_(col // self.cols)
        found = block[first]  # ascending as the connections are
        if not found.numel():
            return found, torch.full_like(block, -1)
        number = torch.searchsorted(found, block).clamp_(max=found.numel() - 1)
        return found, number.masked_fill_(found[number] != block, -1)

    def _complain(self, connectivity: Connectivity) -> None:
        """Raise ValueError for the first block that is not whole."""
        across = self.grid(connectivity.shape)[1]
        row, col = connectivity.row.long(), connectivity.col.long()
        block = (row // self.rows) * across + col // self.cols
        there, counts = torch.unique(block, return_counts=True)
        bad = there[counts < self.rows * self.cols][:1]
        wanted = self.keys(bad, connectivity.shape)
        missing = wanted[~contains(keys_of(connectivity), wanted)][0]
        own = (block == bad).nonzero()[0]
        raise ValueError(
            f"the connections are no whole blocks of {self.rows} × {self.cols}: output "
            f"{int(missing) // connectivity.shape[1]} has none to input "
            f"{int(missing) % connectivity.shape[1]}, and of the same block output {int(row[own])} "
            f"has one to input {int(col[own])}"
        )

"""Structure: which connections come together, and what those who choose connections ask of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity
from sparselayers.structures.selection import rank_in_groups
from sparselayers.topologies.keys import keys_of


@dataclass(frozen=True)
class Structure(ABC):
    """A rule that the connections of a layer keep, such as whole blocks or 2:4.

    Whoever chooses connections does it in units, places of a `grid` of the layer: blocks, or
    single connections. Units are named by their keys, row · columns + column of the grid. Some
    structures have the same number of units in each of equal groups of keys after one another
    (see `group`), and units are exchanged within a group alone.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What `named` finds it by."""

    def __str__(self) -> str:
        return self.name

    @abstractmethod
    def check_shape(self, shape: tuple[int, int]) -> None:
        """Raise ValueError, with what is allowed, where it fits no layer of `shape` (out, in)."""

    @abstractmethod
    def check(self, connectivity: Connectivity) -> None:
        """Raise ValueError where connections do not keep it, naming the first place."""

    def holds(self, connectivity: Connectivity) -> bool:
        """Return whether connections keep it."""
        try:
            self.check(connectivity)
        except ValueError:
            return False
        return True

    @abstractmethod
    def nearest(self, shape: tuple[int, int], sparsity: float | None) -> float:
        """Return the sparsity that a layer of `shape` has where `sparsity` is asked for.

        Raises ValueError where it fits no such layer, or none so sparse.
        """

    @abstractmethod
    def draw(
        self,
        shape: tuple[int, int],
        sparsity: float | None = 0.9,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Connectivity:
        """Return connections that keep it, drawn uniformly, of the nearest sparsity, in O(nnz).

        Raises ValueError as `nearest` does.
        """

    @abstractmethod
    def select(self, connectivity: Connectivity, scores: Tensor, sparsity: float | None) -> Tensor:
        """Return which connections stay, booleans (nnz,), by their `scores` (nnz,): the largest.

        Of the units there are those with the largest sums of scores stay, as many as come nearest
        to `sparsity`; all, where there are fewer. Of equal sums the first go, and NaNs count as
        the largest.

        Raises ValueError as `nearest` does, and where the connections are no whole units or some
        group has too few.
        """

    def grid(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return the rows and columns of units of a layer."""
        return shape

    def group(self, shape: tuple[int, int]) -> int | None:
        """Return how many places have as many units as any others; None where there is no rule."""
        del shape
        return None

    def units(self, connectivity: Connectivity) -> Tensor:
        """Return the ascending keys of the units of a layer; ValueError as `check` raises it."""
        self.check(connectivity)
        return keys_of(connectivity)

    def keys(self, units: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return the ascending keys of the connections of ascending `units`."""
        del shape
        return units

    def sums(self, connectivity: Connectivity, scores: Tensor) -> Tensor:
        """Return what the scores (nnz,) of each unit add up to, (units,)."""
        del connectivity
        return scores

    def of_units(self, connectivity: Connectivity, chosen: Tensor) -> Tensor:
        """Return what is `chosen` of units (units,) for each connection, (nnz,)."""
        del connectivity
        return chosen

    def pooled(self, scores: Tensor) -> Tensor:
        """Return the sums of units for whole rows of scores: (outputs, in) to (rows, columns)."""
        return scores

    def replaceable(self, shape: tuple[int, int], importance: Tensor) -> Tensor | None:
        """Return which units may go so that others of their group can grow; None: any of them.

        `importance` is of all units, the least first to go: of each group no more than there are
        places free in it.
        """
        size = self.group(shape)
        if size is None:
            return None
        groups = shape[0] * shape[1] // size
        each = importance.numel() // groups
        if size - each >= each:
            return None
        number = torch.arange(groups, device=importance.device).repeat_interleave(each)
        return rank_in_groups(importance, number) < size - each

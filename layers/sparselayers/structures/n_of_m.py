"""NofM: of every M inputs after one another, each output is connected to N."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity, check_shape
from sparselayers.fraction import check_sparsity
from sparselayers.structures.selection import largest_of_each
from sparselayers.structures.structure import Structure
from sparselayers.topologies.keys import keys_of
from sparselayers.topologies.n_of_m import check_n_of_m, n_of_m, number_of_groups


@dataclass(frozen=True)
class NofM(Structure):
    """Of every `m` inputs after one another each output is connected to exactly `n`: 2:4, 1:4.

    Of a convolution the inputs are the columns of its matrix, in / groups · kernel height · kernel
    width, places of the window next to each other. The sparsity is 1 − n / m. On the way there,
    while a model is pruned by a schedule, more of each m may stay; what is pruned are the smallest
    scores of each group of m.

    Raises ValueError where n is not in 1 … m.

    Source: Zhou et al. 2021 (arXiv 2102.04010), section 3.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        check_n_of_m(self.n, self.m)

    @property
    def name(self) -> str:
        """The name, such as "2:4"."""
        return f"{self.n}:{self.m}"

    def check_shape(self, shape: tuple[int, int]) -> None:
        """Raise ValueError where M does not divide the inputs, with what does."""
        number_of_groups(check_shape(shape), self.n, self.m)

    def check(self, connectivity: Connectivity) -> None:
        """Raise ValueError, naming the first group that has another number of connections."""
        groups = number_of_groups(connectivity.shape, self.n, self.m)
        number = keys_of(connectivity).div_(self.m, rounding_mode="floor")
        expected = torch.arange(number.numel(), device=number.device).div_(
            self.n, rounding_mode="floor"
        )
        different = (number != expected).nonzero().flatten()[:1]
        if not different.numel() and number.numel() == groups * self.n:
            return
        bad = number.numel() // self.n
        if different.numel():  # the first group has one too many, or lacks one
            bad = int(torch.minimum(number[different], expected[different]))
        raise ValueError(f"the connections are not {self}: {self._told(connectivity, bad)}")

    def nearest(self, shape: tuple[int, int], sparsity: float | None) -> float:
        """Return 1 − n / m, or with a lower `sparsity` that of the nearest number of each m."""
        self.check_shape(shape)
        return 1.0 - self._each(sparsity) / self.m

    def draw(
        self,
        shape: tuple[int, int],
        sparsity: float | None = None,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Connectivity:
        """Return n of each m, drawn uniformly, or with a lower `sparsity` more of them."""
        return n_of_m(shape, self._each(sparsity), self.m, generator=generator, device=device)

    def select(
        self, connectivity: Connectivity, scores: Tensor, sparsity: float | None = None
    ) -> Tensor:
        """Return which connections stay: the n largest scores of each m; more for less sparsity.

        Raises ValueError where a group has fewer.
        """
        groups = number_of_groups(connectivity.shape, self.n, self.m)
        number = keys_of(connectivity).div_(self.m, rounding_mode="floor")
        counts = torch.bincount(number, minlength=groups)
        fewest = counts.min()
        each = self._each(sparsity)
        if bool(fewest < each) and bool((counts != fewest).any() | (fewest < self.n)):
            told = self._told(connectivity, int((counts < each).int().argmax()))
            raise ValueError(f"{each} of each {self.m} cannot stay: {told}")
        return largest_of_each(scores, number, each)

    def group(self, shape: tuple[int, int]) -> int:
        """Return m."""
        del shape
        return self.m

    def _each(self, sparsity: float | None) -> int:
        """Return how many of each m come nearest to `sparsity`."""
        if sparsity is None:
            return self.n
        check_sparsity(sparsity)
        each = round((1.0 - sparsity) * self.m)
        if each < self.n:
            raise ValueError(
                f"{self} has a sparsity of {1 - self.n / self.m:.6g}: sparsity may be at most "
                f"that, or left out, got {sparsity}"
            )
        return each

    def _told(self, connectivity: Connectivity, number: int) -> str:
        """Return what there is in a group."""
        across = connectivity.shape[1] // self.m
        output, first = number // across, number % across * self.m
        start, stop = connectivity.row_ptr[[output, output + 1]].tolist()
        own = connectivity.col[start:stop]
        there = int(((own >= first) & (own < first + self.m)).sum())
        return f"output {output} has {there} connections to inputs {first} to {first + self.m - 1}"

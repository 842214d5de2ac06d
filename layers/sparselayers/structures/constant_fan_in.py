"""ConstantFanIn: every output has the same number of connections."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity, check_shape
from sparselayers.structures.selection import largest_of_each
from sparselayers.structures.structure import Structure
from sparselayers.topologies.constant_fan_in import constant_fan_in, fan_in


@dataclass(frozen=True)
class ConstantFanIn(Structure):
    """Every output has the same number of connections, wherever: "fan-in".

    What is pruned are the smallest scores of each output. Where connections are exchanged, those
    of the smallest magnitudes of the whole layer go, and each output grows as many as it lost.

    Source: Lasby et al. 2023, Dynamic Sparse Training with Structured Sparsity (SRigL,
    arXiv 2305.02299), section 3.1, without its ablation of neurons.
    """

    @property
    def name(self) -> str:
        """The name, "fan-in"."""
        return "fan-in"

    def check_shape(self, shape: tuple[int, int]) -> None:
        """Raise ValueError for what is no shape: it fits all layers."""
        check_shape(shape)

    def check(self, connectivity: Connectivity) -> None:
        """Raise ValueError, naming the first output with another number of connections."""
        counts = connectivity.row_ptr.diff()
        if bool((counts != counts[0]).any()):
            bad = int((counts != counts[0]).int().argmax())
            raise ValueError(
                f"the connections have no constant fan-in: output {bad} has {int(counts[bad])}, "
                f"and output 0 has {int(counts[0])}"
            )

    def nearest(self, shape: tuple[int, int], sparsity: float | None) -> float:
        """Return the sparsity of the nearest whole number of connections an output."""
        return 1.0 - self._each(shape, sparsity) / shape[1]

    def draw(
        self,
        shape: tuple[int, int],
        sparsity: float | None = 0.9,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Connectivity:
        """Return as many connections for each output, drawn uniformly."""
        self._each(shape, sparsity)
        assert sparsity is not None
        return constant_fan_in(shape, sparsity, generator=generator, device=device)

    def select(self, connectivity: Connectivity, scores: Tensor, sparsity: float | None) -> Tensor:
        """Return which connections stay, the largest scores of each output.

        Raises ValueError where some outputs have fewer, and others more.
        """
        each = self._each(connectivity.shape, sparsity)
        counts = connectivity.row_ptr.diff()
        fewest = counts.min()
        if bool(fewest < each) and bool((counts != fewest).any()):
            bad = int((counts < each).int().argmax())
            raise ValueError(
                f"{each} connections of each output cannot stay: output {bad} has "
                f"{int(counts[bad])}"
            )
        return largest_of_each(scores, connectivity.row, each)

    def group(self, shape: tuple[int, int]) -> int:
        """Return the inputs of an output."""
        return shape[1]

    def _each(self, shape: tuple[int, int], sparsity: float | None) -> int:
        if sparsity is None:
            raise ValueError("sparsity is missing: a constant fan-in is of any in [0, 1)")
        return fan_in(check_shape(shape), sparsity)

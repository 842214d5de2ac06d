"""Unstructured: any connection may be there or not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity, check_shape
from sparselayers.structures.selection import largest
from sparselayers.structures.structure import Structure
from sparselayers.topologies.keys import number_of_connections
from sparselayers.topologies.uniform import random


@dataclass(frozen=True)
class Unstructured(Structure):
    """No rule: what those who choose connections do where no structure is asked for."""

    @property
    def name(self) -> str:
        """The name, "unstructured"."""
        return "unstructured"

    def check_shape(self, shape: tuple[int, int]) -> None:
        """Raise ValueError for what is no shape."""
        check_shape(shape)

    def check(self, connectivity: Connectivity) -> None:
        """Do nothing: all connections keep no rule."""

    def nearest(self, shape: tuple[int, int], sparsity: float | None) -> float:
        """Return the sparsity of the nearest whole number of connections."""
        return 1.0 - number_of_connections(shape, _needed(sparsity)) / math.prod(shape)

    def draw(
        self,
        shape: tuple[int, int],
        sparsity: float | None = 0.9,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Connectivity:
        """Return random connections."""
        return random(shape, _needed(sparsity), generator=generator, device=device)

    def select(self, connectivity: Connectivity, scores: Tensor, sparsity: float | None) -> Tensor:
        """Return which connections stay, those of the largest scores."""
        count = number_of_connections(connectivity.shape, _needed(sparsity))
        return largest(scores, min(count, scores.numel()))


def _needed(sparsity: float | None) -> float:
    if sparsity is None:
        raise ValueError("sparsity is missing: a number in [0, 1)")
    return sparsity

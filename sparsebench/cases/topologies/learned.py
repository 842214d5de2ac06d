"""Connections that follow data: inputs that vary together, as the pixels of an image do."""

from __future__ import annotations

import torch
from torch import nn

import sparselayers as sl
from sparsebench.cases.topologies.registry import topology
from sparselayers import Connectivity

_SAMPLES = 128
_NEAR = 16  # inputs that one source reaches: those near each other vary together


@topology
def correlated(
    shape: tuple[int, int], sparsity: float, *, generator: torch.Generator | None = None
) -> Connectivity:
    """Connect what correlates most, over samples in which inputs near each other vary together.

    `shape` is (out, in). The samples are noise, averaged over `_NEAR` neighbours on a line.
    """
    noise = torch.randn(_SAMPLES, 1, shape[1] + _NEAR - 1, generator=generator)
    samples = nn.functional.avg_pool1d(noise, _NEAR, stride=1)[:, 0]
    return sl.correlated(shape, sparsity, samples=samples)

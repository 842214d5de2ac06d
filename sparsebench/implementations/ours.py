"""The layers of this project: with the fastest backend, and with the reference one."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from layers import SparseLinear
from sparsebench.implementations.base import Implementation
from sparsebench.problem import Problem


class Ours(Implementation):
    """`layers.SparseLinear` as a user gets it."""

    name = "ours"
    gflops = 30.0
    layer: ClassVar[type[SparseLinear]] = SparseLinear

    def build(self, problem: Problem) -> nn.Module:
        """Make the layer of the problem's connections and copy its numbers."""
        out_features, in_features = problem.connectivity.shape
        layer = self.layer(
            in_features,
            out_features,
            connectivity=problem.connectivity,
            device=problem.values.device,
            dtype=problem.values.dtype,
        )
        with torch.no_grad():
            layer.values.copy_(problem.values)
            layer.bias.copy_(problem.bias)  # type: ignore[union-attr]
        return layer

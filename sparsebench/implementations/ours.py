"""The layers of this project: with the fastest backend, and with the reference one."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation
from sparselayers import SparseConv2d, SparseLinear


class Ours(Implementation):
    """`sparselayers.SparseLinear` and `sparselayers.SparseConv2d` as a user gets them."""

    name = "ours"
    operations = ("linear", "conv2d")
    gflops = 30.0
    stands_on = ("sparselayers",)
    backend: ClassVar[str | None] = None

    def build(self, problem: Problem) -> nn.Module:
        """Make the layer of the problem's connections and copy its numbers."""
        out_features, in_features = problem.connectivity.shape
        given: dict[str, Any] = {
            "connectivity": problem.connectivity,
            "device": problem.values.device,
            "dtype": problem.values.dtype,
            "backend": self.backend,
        }
        layer: SparseLinear | SparseConv2d
        if geometry := problem.geometry:
            layer = SparseConv2d(
                problem.x.shape[1],
                out_features,
                geometry.kernel,
                geometry.stride,
                geometry.padding[::2],
                groups=geometry.groups,
                **given,
            )
        else:
            layer = SparseLinear(in_features, out_features, **given)
        with torch.no_grad():
            layer.weights.copy_(problem.values)
            layer.bias.copy_(problem.bias)  # type: ignore[union-attr]
        return layer

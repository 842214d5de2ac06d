"""The dense layer in inference with its weight packed once: in the order in which oneDNN reads it.

Packing is what engines do when they load a model, and is part of building.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.cases.case import DTYPE_BYTES, Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense import Dense, weight_of
from sparsebench.implementations.dense_onednn import linear, without_onednn


class DensePacked(Dense):
    """Multiplies by oneDNN with a weight that it has packed for the batch."""

    name = "dense_packed"
    operations = ("linear",)
    devices = ("cpu",)
    dtypes = ("float32",)
    trains = False

    def unavailable(self) -> str | None:
        """Say where this PyTorch was built without oneDNN."""
        return without_onednn()

    def bytes_needed(self, case: Case) -> int:
        """Count the packed weight too, while both are there."""
        return super().bytes_needed(case) + case.weights * DTYPE_BYTES[case.dtype]

    def build(self, problem: Problem) -> nn.Module:
        """Pack the weight."""
        return _Packed(problem)


class _Packed(nn.Module):
    bias: Tensor

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        pack = torch.ops.mkldnn._reorder_linear_weight
        self.weight: Tensor = pack(weight_of(problem), problem.x.shape[0])  # no strided tensor
        self.register_buffer("bias", problem.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

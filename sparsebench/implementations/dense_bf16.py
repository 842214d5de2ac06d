"""nn.Linear with weights, products and gradients in bfloat16: dense at its fastest.

Input and output are cast in every call, the weights were cast when the layer was built: autocast
(AMP) casts those in every call too, and so is slower than this. Where the whole net is in bfloat16,
the case's own type is: `dense` and the others are then measured in it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from sparsebench.implementations.dense import Dense, linear_of
from sparsebench.problem import Problem


class DenseBF16(Dense):
    """Computes a float32 problem on bfloat16 units, where the device has such."""

    name = "dense_bf16"
    dtypes = ("float32",)
    precision = "bfloat16"

    def build(self, problem: Problem) -> nn.Module:
        """Round the weights to bfloat16."""
        short = replace(problem, values=problem.values.bfloat16(), bias=problem.bias.bfloat16())
        return _ShortLinear(linear_of(short))


class _ShortLinear(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.to(torch.bfloat16), self.weight, self.bias).to(x.dtype)

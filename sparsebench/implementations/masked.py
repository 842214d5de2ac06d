"""Dense weight × mask in every step: how sparse training is most often simulated."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.case import Case
from sparsebench.implementations.base import DTYPE_BYTES
from sparsebench.implementations.dense import Dense, linear_of
from sparsebench.problem import Problem


class Masked(Dense):
    """Keeps weight and mask dense; autograd masks the gradient."""

    name = "masked"
    gflops = 40.0

    def bytes_needed(self, case: Case) -> int:
        """Count weight, mask, their product and the gradients of both."""
        weights = case.in_features * case.out_features
        return super().bytes_needed(case) + 3 * weights * DTYPE_BYTES[case.dtype]

    def build(self, problem: Problem) -> nn.Module:
        """Make the dense layer, with the mask beside it as a buffer."""
        return _MaskedLinear(problem)


class _MaskedLinear(nn.Module):
    mask: Tensor

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        linear = linear_of(problem)
        self.weight, self.bias = linear.weight, linear.bias
        mask = torch.zeros_like(linear.weight, requires_grad=False)
        mask[problem.connectivity.row, problem.connectivity.col] = 1
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight * self.mask, self.bias)

"""Dense weight × mask in every step: how sparse training is most often simulated."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.cases.case import DTYPE_BYTES, Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense import Dense, conv2d_of, linear_of


class Masked(Dense):
    """Keeps weight and mask dense; autograd masks the gradient."""

    name = "masked"
    operations = ("linear", "conv2d")
    gflops = 40.0

    def bytes_needed(self, case: Case) -> int:
        """Count weight, mask, their product and the gradients of both."""
        return super().bytes_needed(case) + 3 * case.weights * DTYPE_BYTES[case.dtype]

    def build(self, problem: Problem) -> nn.Module:
        """Make the dense layer, with the mask beside it as a buffer."""
        return _MaskedConv2d(problem) if problem.geometry else _MaskedLinear(problem)


class _Masked(nn.Module):
    mask: Tensor

    def __init__(self, problem: Problem, dense: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = dense.weight, dense.bias
        mask = torch.zeros_like(dense.weight, requires_grad=False)
        mask.view(mask.shape[0], -1)[problem.connectivity.row, problem.connectivity.col] = 1
        self.register_buffer("mask", mask)


class _MaskedLinear(_Masked):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem, linear_of(problem))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight * self.mask, self.bias)


class _MaskedConv2d(_Masked):
    def __init__(self, problem: Problem) -> None:
        conv = conv2d_of(problem)
        super().__init__(problem, conv)
        self.stride, self.padding, self.groups = conv.stride, conv.padding, conv.groups

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(
            x,
            self.weight * self.mask,
            self.bias,
            self.stride,
            self.padding,
            groups=self.groups,
        )

"""A linear layer whose three products another library multiplies."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Product(Protocol):
    """What multiplies: libraries that add a bias on the way may do so."""

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return x weightᵀ + bias, of matrices with any strides."""


class OtherProducts(nn.Module):
    """`linear` with its parameters, where y = x Wᵀ, dx = dy W and dW = dyᵀ x are by `product`."""

    def __init__(self, linear: nn.Linear, product: Product) -> None:
        super().__init__()
        self.weight, self.bias, self.product = linear.weight, linear.bias, product

    def forward(self, x: Tensor) -> Tensor:
        """Return y, (batch, out), of `x` (batch, in)."""
        y: Tensor = _Products.apply(x, self.weight, self.bias, self.product)
        return y


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, product: Product) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.product = product
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        return ctx.product(dy, weight.t()), ctx.product(dy.t(), x.t()), dy.sum(0), None

"""The dense layer by oneDNN, which PyTorch has beside MKL and uses for other types.

PyTorch gives a product in float32 to its BLAS, which is MKL in the wheels for x86. oneDNN is the
other library in the same wheel; its operator, which torch.compile calls, takes weights as they lie.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense import Dense, linear_of


class DenseOneDNN(Dense):
    """Takes the three products of a training step by oneDNN, in float32."""

    name = "dense_onednn"
    operations = ("linear",)
    devices = ("cpu",)
    dtypes = ("float32",)

    def unavailable(self) -> str | None:
        """Say where this PyTorch was built without oneDNN."""
        return without_onednn()

    def build(self, problem: Problem) -> nn.Module:
        """Make the dense layer with other products."""
        return _Linear(linear_of(problem))


class _Linear(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _Products.apply(x, self.weight, self.bias)
        return y


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return linear(dy, weight.t()), linear(dy.t(), x.t()), dy.sum(0)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x weightᵀ + bias by oneDNN; `weight` may be packed by it."""
    operator = torch.ops.mkldnn._linear_pointwise
    y: Tensor = operator(x, weight, bias, "none", [], "")
    return y


def without_onednn() -> str | None:
    """Say where this PyTorch has no oneDNN, or not the operator."""
    there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if there and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return None
    return "this PyTorch was built without oneDNN; install with: pip install torch"

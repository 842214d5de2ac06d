"""The dense layer by the BLAS of NumPy: OpenBLAS in its wheels, whatever PyTorch multiplies by.

NumPy says which BLAS it was built with (`numpy.show_config`). It runs on threads of its own, as
many as PyTorch is told to use.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense import Dense, linear_of


class DenseOpenBLAS(Dense):
    """Takes the three products of a training step by NumPy."""

    name = "dense_openblas"
    operations = ("linear",)
    devices = ("cpu",)
    dtypes = ("float64", "float32")

    def unavailable(self) -> str | None:
        """Say by which other BLAS this NumPy multiplies."""
        if "openblas" in (name := blas()):
            return None
        return f"this NumPy multiplies by {name or 'no BLAS'}; install with: pip install numpy"

    def build(self, problem: Problem) -> nn.Module:
        """Make the dense layer with other products."""
        threadpool_limits(torch.get_num_threads(), user_api="blas")
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
        return product(x, weight.t()) + bias

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return product(dy, weight), product(dy.t(), x), dy.sum(0)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return a b by NumPy; neither is copied. One row is multiplied as a vector."""
    left, right = a.detach().numpy(), b.detach().numpy()
    if len(left) == 1:
        return torch.from_numpy(left[0] @ right)[None]
    return torch.from_numpy(left @ right)


def blas() -> str:
    """Return the name of the BLAS that NumPy was built with; "" where it does not say."""
    told: Any = np.show_config(mode="dicts")
    return str(told.get("Build Dependencies", {}).get("blas", {}).get("name", ""))

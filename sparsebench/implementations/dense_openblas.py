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
from sparsebench.implementations.other_products import OtherProducts


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
        return OtherProducts(linear_of(problem), linear)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x weightᵀ + bias by NumPy."""
    y = product(x, weight.t())
    return y if bias is None else y + bias


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

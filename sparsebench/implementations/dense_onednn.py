"""The dense layer by oneDNN, which PyTorch has beside MKL and uses for other types.

PyTorch gives a product in float32 to its BLAS, which is MKL in the wheels for x86. oneDNN is the
other library in the same wheel; its operator, which torch.compile calls, takes weights as they lie.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense import Dense, linear_of
from sparsebench.implementations.other_products import OtherProducts


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
        return OtherProducts(linear_of(problem), linear)


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


def multiplies_bfloat16() -> bool:
    """Whether oneDNN multiplies bfloat16 by instructions that this processor has for it."""
    return without_onednn() is None and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

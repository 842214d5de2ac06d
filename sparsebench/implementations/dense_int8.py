"""The dense layer with weights of 8 bits and an input that every call rounds to 8 bits.

PyTorch's own dynamic quantisation: what it calls is oneDNN or FBGEMM. It is announced to go, to
torchao, whose dynamic quantisation on a CPU needs torch.compile.
"""

from __future__ import annotations

import importlib
import warnings

import torch
from torch import Tensor, nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense import Dense, linear_of


class DenseInt8(Dense):
    """`quantize_dynamic` of nn.Linear, in inference."""

    name = "dense_int8"
    operations = ("linear",)
    devices = ("cpu",)
    dtypes = ("float32",)
    precision = "int8"
    trains = False

    def unavailable(self) -> str | None:
        """Say where this PyTorch has it no more, or no library for it."""
        supported = set(torch.backends.quantized.supported_engines)
        if supported & {"x86", "fbgemm", "onednn", "qnnpack"} and _quantization() is not None:
            return None
        return "this PyTorch has no dynamic quantisation; install with: pip install 'torch<2.15'"

    def build(self, problem: Problem) -> nn.Module:
        """Round the weights, row by row of a common step, and pack them."""
        with warnings.catch_warnings():  # that it is to go
            warnings.simplefilter("ignore")
            quantization = importlib.import_module("torch.ao.quantization")
            model = nn.Sequential(linear_of(problem)).eval()
            quantized = quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
        return _Int8(quantized)


class _Int8(nn.Module):
    def __init__(self, quantized: nn.Module) -> None:
        super().__init__()
        self._quantized = quantized

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._quantized(x)
        return y


def _quantization() -> object | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found: object = importlib.import_module("torch.ao.quantization").quantize_dynamic
        except (ImportError, AttributeError):
            return None
        return found

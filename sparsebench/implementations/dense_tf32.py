"""The dense layer on the tensor cores of a GPU, in TF32: float32 with ten bits of mantissa."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from sparsebench.cases.case import Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense import Dense
from sparselayers import accelerator

_OLDEST = (8, 0)


class DenseTF32(Dense):
    """What `torch.set_float32_matmul_precision("high")` makes of the dense layer.

    `dense` is measured in full float32. The setting is the whole process's: one that measures
    nothing else.
    """

    name = "dense_tf32"
    operations = ("linear",)
    devices = ("cuda",)
    dtypes = ("float32",)
    precision = "tf32"

    def unsupported(self, case: Case) -> str | None:
        """Say where a GPU has no such tensor cores."""
        if reason := super().unsupported(case):
            return reason
        if not accelerator.problem(case.device):
            capability = accelerator.of(torch.device(case.device)).capability()
            if capability < _OLDEST:
                return f"{self.name} needs compute capability {_OLDEST[0]}.{_OLDEST[1]} or higher"
        return None

    def build(self, problem: Problem) -> nn.Module:
        """Make the dense layer, and let this process multiply in TF32."""
        tensor_cores(use=True)
        return super().build(problem)


def tensor_cores(use: bool) -> None:
    """Let this process multiply and convolve float32 in TF32 on a GPU, or in full float32.

    PyTorch's own default is full float32 for products and TF32 for convolutions.
    """
    torch.set_float32_matmul_precision("high" if use else "highest")
    with warnings.catch_warnings():  # of a newer name, with which older ones do not mix
        warnings.simplefilter("ignore")
        torch.backends.cudnn.allow_tf32 = use

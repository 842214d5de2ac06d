"""The dense layer in float32 whose products PyTorch may take in bfloat16.

What `torch.set_float32_matmul_precision("medium")` makes of it on a CPU that has such instructions;
on others it is `dense`. (On a GPU it is the same as `dense_tf32`.)
"""

from __future__ import annotations

import torch
from torch import nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense import Dense
from sparsebench.implementations.dense_onednn import multiplies_bfloat16


class DenseMedium(Dense):
    """The dense layer with a setting that is the whole process's: it measures nothing else."""

    name = "dense_medium"
    operations = ("linear",)
    devices = ("cpu",)
    dtypes = ("float32",)
    precision = "bfloat16"

    def unavailable(self) -> str | None:
        """Say where the processor multiplies no bfloat16: there the setting changes nothing."""
        if multiplies_bfloat16():
            return None
        return "this processor has no instructions for bfloat16: it would be dense"

    def build(self, problem: Problem) -> nn.Module:
        """Make the dense layer, and let this process multiply in bfloat16."""
        torch.set_float32_matmul_precision("medium")
        return super().build(problem)

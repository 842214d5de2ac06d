"""The dense layer with weights, products and gradients in bfloat16: dense at its fastest.

Input and output are cast in every call, the weights were cast when the layer was built: autocast
(AMP) casts those in every call too, and so is slower than this. Where the whole net is in bfloat16,
the case's own type is: `dense` and the others are then measured in it.
"""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from sparsebench.cases.case import Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense import Dense
from sparsebench.implementations.dense_onednn import multiplies_bfloat16


class DenseBF16(Dense):
    """Computes a float32 problem on bfloat16 units, where the device has such."""

    name = "dense_bf16"
    operations = ("linear",)
    dtypes = ("float32",)
    precision = "bfloat16"

    def unsupported(self, case: Case) -> str | None:
        """Say where PyTorch has to imitate the products: 6 to 40 times slower, minutes a case."""
        if case.device == "cpu" and case.batch > 1 and not multiplies_bfloat16():
            return "this processor has no instructions for bfloat16: slower than dense, many times"
        return super().unsupported(case)

    def build(self, problem: Problem) -> nn.Module:
        """Round the weights to bfloat16, and cast what comes in and goes out."""
        short = replace(problem, values=problem.values.bfloat16(), bias=problem.bias.bfloat16())
        module = super().build(short)
        module.register_forward_pre_hook(lambda _, inputs: (inputs[0].bfloat16(),))
        module.register_forward_hook(lambda _, inputs, y: y.to(problem.values.dtype))
        return module

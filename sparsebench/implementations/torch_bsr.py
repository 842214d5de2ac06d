"""PyTorch's own BSR tensors, in inference: blocks of 16 × 16 in which anything is not zero.

For connections that lie in blocks. Random ones have some in nearly every block, until very few are
left; then it is the dense layer with indices.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from sparsebench.cases.case import DTYPE_BYTES, Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation
from sparsebench.implementations.dense import weight_of

BLOCK = 16


class TorchBSR(Implementation):
    """Makes the weight a BSR tensor once; its product on a CPU is MKL's."""

    name = "torch_bsr"
    dtypes = ("float64", "float32")
    trains = False

    def unsupported(self, case: Case) -> str | None:
        """Say where sizes are no multiples of the block's."""
        if reason := super().unsupported(case):
            return reason
        for name in ("in_features", "out_features"):
            if getattr(case, name) % BLOCK:
                return f"{self.name}: {name} = {getattr(case, name)} is no multiple of {BLOCK}"
        return None

    def bytes_needed(self, case: Case) -> int:
        """Count the dense weight that the blocks are cut from, and as many blocks."""
        return super().bytes_needed(case) + 2 * case.weights * DTYPE_BYTES[case.dtype]

    def build(self, problem: Problem) -> nn.Module:
        """Cut the weight into blocks, and keep those that are not empty."""
        return _BSRLinear(problem)


class _BSRLinear(nn.Module):
    weight: Tensor
    bias: Tensor

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        with warnings.catch_warnings():  # that it is in beta state
            warnings.simplefilter("ignore")
            blocks = weight_of(problem).to_sparse_bsr((BLOCK, BLOCK))
        self.register_buffer("weight", blocks)
        self.register_buffer("bias", problem.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias[:, None], self.weight, x.t()).t()

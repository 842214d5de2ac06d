"""PyTorch's semi-structured tensors on a GPU: two of four weights are zero, in inference.

The tensor cores of Ampere and later skip them. That is a sparsity of 50% in a pattern that the
connections have to have; random ones do not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.cases.case import DTYPE_BYTES, Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation
from sparsebench.implementations.dense import weight_of

_OF = 4
_MOST = 2
_PATTERNS = ("2:4", "1:4")


class TorchTwoToFour(Implementation):
    """`torch.sparse.to_sparse_semi_structured`, in half precision."""

    name = "torch_2to4"
    devices = ("cuda",)
    dtypes = ("float16", "bfloat16")
    trains = False

    def unsupported(self, case: Case) -> str | None:
        """Say where connections are drawn in another pattern."""
        if reason := super().unsupported(case):
            return reason
        if case.topology not in _PATTERNS and not case.topology.startswith("file:"):
            return f"{self.name} is for topologies {' and '.join(_PATTERNS)}, got {case.topology}"
        return None

    def bytes_needed(self, case: Case) -> int:
        """Count the dense weight that the pattern is taken from."""
        return super().bytes_needed(case) + 2 * case.weights * DTYPE_BYTES[case.dtype]

    def build(self, problem: Problem) -> nn.Module:
        """Check the pattern, and compress the weight.

        Raises ValueError where more than two of four neighbours in a row are connected.
        """
        weight = weight_of(problem)
        check_pattern(weight)
        return _TwoToFour(torch.sparse.to_sparse_semi_structured(weight), problem.bias.clone())


class _TwoToFour(nn.Module):
    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self._weight, self._bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self._weight, self._bias)


def check_pattern(weight: Tensor) -> None:
    """Raise ValueError where more than two of four neighbours in a row of `weight` are not zero."""
    if weight.shape[1] % _OF:
        raise ValueError(f"2:4: {weight.shape[1]} columns are no multiple of {_OF}")
    most = int((weight.view(len(weight), -1, _OF) != 0).sum(2).max())
    if most > _MOST:
        raise ValueError(f"2:4: {most} of 4 neighbours are connected; at most {_MOST} may be")

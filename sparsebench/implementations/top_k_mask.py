"""The product with a mask of the top k: how k-winners are written without thinking twice.

Nothing is boosted: units that always win go on winning.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations.base import Implementation


class TopKMask(Implementation):
    """Multiplies by a dense mask, one at `torch.topk` of each sample; boosts nothing."""

    name = "top_k_mask"
    operations = ("k_winners",)
    stands_in = False

    def build(self, problem: Problem) -> nn.Module:
        """Return the activation: there is no layer."""
        return self.activation(problem)

    def activation(self, problem: Problem) -> nn.Module:
        """Return the product with the mask."""
        return _TopKMask(problem.winners)


class _TopKMask(nn.Module):
    def __init__(self, winners: int) -> None:
        super().__init__()
        self.winners = winners

    def forward(self, x: Tensor) -> Tensor:
        flat = x.detach().flatten(1)
        places = flat.topk(self.winners, dim=1).indices
        mask = torch.zeros_like(flat).scatter_(1, places, 1.0)
        return x * mask.view(x.shape)

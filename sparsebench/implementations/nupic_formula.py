"""K-winners as nupic.torch computes them, written anew from the formula: its package is no more.

Units compete with x · exp(β (k/n − duty cycle)); what is below the k-th largest, which is found by
`torch.kthvalue`, is set to zero. The duty cycle is the mean, over the last 1,000 samples at most,
of how often a unit was positive after that. Of images a channel has one duty cycle, and all units
of a sample compete.

Source: Ahmad and Scheinkman 2019 (arXiv 1903.11257), section 3; the window of 1,000 samples and
β = 1.5 are those of nupic.torch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations.top_k_mask import TopKMask

_PERIOD = 1000  # samples
_STRENGTH = 1.5


class NupicFormula(TopKMask):
    """Boosts by duty cycles, finds the k-th largest, and sets what is below it to zero."""

    name = "nupic_formula"
    dtypes = ("float64", "float32")  # in shorter types many are equal to the k-th, and all win

    def activation(self, problem: Problem) -> nn.Module:
        """Return the activation, with duty cycles of zero."""
        made = _NupicFormula(problem.winners, problem.x)
        return made.train(problem.phase != "inference")

    def boost(self, module: nn.Module) -> Tensor | None:
        """Return exp(β (k/n − d)) of the duty cycles d."""
        assert isinstance(module, _NupicFormula)
        return module.boost()


class _NupicFormula(nn.Module):
    duty_cycle: Tensor

    def __init__(self, winners: int, x: Tensor) -> None:
        super().__init__()
        self.winners, self.share = winners, winners / x[0].numel()
        self.seen = 0
        self.register_buffer("duty_cycle", x.detach().new_zeros(x.shape[1]))

    def boost(self) -> Tensor:
        return torch.exp(_STRENGTH * (self.share - self.duty_cycle))

    def forward(self, x: Tensor) -> Tensor:
        each = self.boost().view(-1, *(1 for _ in x.shape[2:]))
        rivals = (x.detach() * each).flatten(1)
        bar = rivals.kthvalue(rivals.shape[1] - self.winners + 1, dim=1, keepdim=True).values
        y = x.masked_fill((rivals < bar).view(x.shape), 0.0)
        if self.training:
            self._count(y.detach())
        return y

    def _count(self, y: Tensor) -> None:
        samples, pixels = len(y), y[0, 0].numel()
        self.seen += samples
        period = max(samples, min(_PERIOD, self.seen))
        wins = (y > 0).sum((0, *range(2, y.dim()))).to(y.dtype) / pixels
        self.duty_cycle.mul_((period - samples) / period).add_(wins / period)

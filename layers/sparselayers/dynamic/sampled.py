"""Gradient-guided growth at scale: only sampled candidates are asked for their gradient."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparselayers.dynamic.rewirer import Rewirer
from sparselayers.dynamic.site import Site
from sparselayers.topologies.keys import contains
from sparselayers.topologies.sampling import distinct

Sampling = Literal["uniform", "bound", "estimate"]


class GSE(Rewirer):
    """Grow the largest gradient magnitudes among candidates drawn at random: O(out + in + nnz).

    `candidates` · nnz places are drawn with replacement; those that exist, and repetitions, do not
    count. Where fewer are left than are to grow, the rest grows anywhere. `sampling` says how:

    - "uniform": any place alike;
    - "bound" (GraBo): output i and input j with probabilities ∝ Σ_b |dy_bi| and ∝ Σ_b |x_bj|,
      whose product bounds |∂L/∂w_ij|;
    - "estimate" (GraEst): ∝ |Σ_b s_b dy_bi| and ∝ |Σ_b s_b x_bj| with random signs s_b, the same
      for both, whose product estimates the gradient without bias.

    The gradient is computed at the candidates and at the connections, never elsewhere. Layers
    other than SparseLinear, and passes that are not one input to one output, are sampled uniformly.

    Raises ValueError as `Rewirer` does, and for `candidates` that are not positive or an unknown
    `sampling`.

    Source: Heddes et al. 2024, Always-Sparse Training by Growing Connections with Guided
    Stochastic Exploration (arXiv 2401.06898), section III; the signs are drawn, not hashed.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        *,
        candidates: float = 1.0,
        sampling: Sampling = "bound",
        **settings: Any,
    ) -> None:
        if not 0.0 < candidates < float("inf"):
            raise ValueError(f"candidates must be a positive multiple of nnz, got {candidates}")
        if sampling not in get_args(Sampling):
            allowed = ", ".join(get_args(Sampling))
            raise ValueError(f"sampling must be one of {allowed}, got {sampling!r}")
        self.candidates, self.sampling = candidates, sampling
        super().__init__(model, optimizer, **settings)

    def grow(self, site: Site, count: int) -> Tensor:
        """Return the keys of the `count` candidates with the largest gradients."""
        keys = self._candidates(site, max(1, round(self.candidates * site.present.numel())))
        return site.best([(keys, site.gradient_at(keys).abs_())], count)

    def _candidates(self, site: Site, size: int) -> Tensor:
        """Draw ascending keys, none of which exists."""
        rows, columns = site.layer.shape
        outputs, inputs = self._chances(site)
        device = site.present.device
        row = _draw(outputs, rows, site.uniform(size, device))
        col = _draw(inputs, columns, site.uniform(size, device))
        keys = distinct(row.mul_(columns).add_(col))
        return keys[~contains(site.present, keys)]

    def _chances(self, site: Site) -> tuple[Tensor | None, Tensor | None]:
        """Return what outputs and inputs are drawn in proportion to; None where all are alike."""
        linear = site.layer.dense_type is nn.Linear
        # All ranks sum, those too that nothing passed through.
        device, shape = site.present.device, site.layer.shape
        sums = [torch.zeros(size, dtype=torch.float64, device=device) for size in shape]
        if self.sampling == "uniform" or not linear:
            return None, None
        generator = site.own_generator()
        for x, dy in site.step.pairs:
            dy, x = dy.reshape(-1, shape[0]).double(), x.reshape(-1, shape[1]).double()
            if self.sampling == "bound":
                sums[0] += dy.abs().sum(0)
                sums[1] += x.abs().sum(0)
            else:
                signs = torch.randint(2, (x.shape[0],), generator=generator).to(dy) * 2 - 1
                sums[0] += signs @ dy
                sums[1] += signs @ x
        first, second = (site.ranks.sum(each).abs_() for each in sums)
        return first, second


def _draw(weights: Tensor | None, size: int, uniform: Tensor) -> Tensor:
    """Draw indices below `size` with chances ∝ `weights` (size,), or alike where there are none."""
    if weights is None or not 0.0 < float(weights.sum()) < float("inf"):
        return (uniform * size).long().clamp_(max=size - 1)
    sums = weights.cumsum(0)
    return torch.searchsorted(sums, uniform * sums[-1], right=True).clamp_(max=size - 1)

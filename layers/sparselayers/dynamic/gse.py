"""Gradient-guided growth at scale: only sampled candidates are asked for their gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparselayers import backends, by_rows
from sparselayers.accumulation import wide_type
from sparselayers.connectivity import Connectivity
from sparselayers.dynamic.rewirer import Rewirer
from sparselayers.dynamic.site import Site
from sparselayers.topologies.keys import contains
from sparselayers.topologies.sampling import distinct

Sampling = Literal["uniform", "bound", "estimate"]
_BLOCK = 2**20  # candidates that are drawn together: what is derived from them stays small


class GSE(Rewirer):
    """Grow the largest gradient magnitudes among candidates drawn at random: O(out + in + nnz).

    `candidates` · nnz places are drawn with replacement; those that exist, and repetitions, do not
    count. Where fewer are left than are to grow, the rest grows anywhere. `sampling` says how:

    - "uniform": any place alike;
    - "bound" (GraBo): output i and input j with probabilities ∝ Σ_b |dy_bi| and ∝ Σ_b |x_bj|,
      whose product bounds |∂L/∂w_ij|;
    - "estimate" (GraEst): ∝ |Σ_b s_b dy_bi| and ∝ |Σ_b s_b x_bj| with random signs s_b, the same
      for both, whose product estimates the gradient without bias.

    The gradient is computed at the candidates and at the connections, never elsewhere. Layers that
    have half of all places or more are asked at all of them, as RigL asks: these are at most twice
    as many as the connections. Layers other than SparseLinear, and passes that are not one input to
    one output, are sampled uniformly.

    The authors replace 20% at first (`fraction` is 0.3 here, as for all rules), compare the
    gradients of all layers with each other, so that connections move between them, and take those
    of ten images a class; here each layer keeps its number, and the step's own batch decides.

    Raises ValueError as `Rewirer` does, and for `candidates` that are not positive or an unknown
    `sampling`.

    Source: Heddes et al. 2024, Always-Sparse Training by Growing Connections with Guided
    Stochastic Exploration (arXiv 2401.06898), and the authors' repository
    mikeheddes/guided-stochastic-exploration; the signs are drawn, not hashed.
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

    def grow(self, site: Site, count: int) -> Tensor | Connectivity:
        """Return the `count` candidates with the largest gradients."""
        if 2 * site.number >= site.places:
            return site.largest(lambda rows: site.gradient(rows).abs_(), count)
        if by_rows.serves(site.layer.connectivity) and site.layer.dense_type is nn.Linear:
            return self._grow_by_rows(site, count)
        keys = self._candidates(site, max(1, round(self.candidates * site.present.numel())))
        return site.best([(keys, site.gradient_at(keys).abs_())], count)

    def _grow_by_rows(self, site: Site, count: int) -> Connectivity:
        """Return what `grow` does, some outputs at a time."""
        connectivity = site.layer.connectivity
        if self.check_gradient:
            site.see_gradient()
            connectivity.forget()
        size = max(1, round(self.candidates * connectivity.nnz))
        drawn = by_rows.Candidates(connectivity, *self._chances(site), size, site.generator)
        gradient, used = _gradient_of_rows(site), 0
        scores = torch.empty(size, dtype=_wide(site))
        for rows in drawn.blocks(_BLOCK):
            some = drawn.draw(rows)
            scores[used : used + some.nnz] = gradient(rows, some).abs_()
            used += some.nnz
        found = drawn.found()
        if used > count:
            keep = torch.ones(used, dtype=torch.bool)
            by_rows.drop_smallest(scores[:used], keep, used - count)
            return by_rows.merged(found, keep, by_rows.none(found))
        return found if used == count else site.filled_up(found, count - used)

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
        device, shape = site.layer.weights.device, site.layer.shape
        sums = [torch.zeros(size, dtype=torch.float64, device=device) for size in shape]
        if self.sampling == "uniform" or not linear:
            return None, None
        generator = site.own_generator()
        for x, dy in site.step.pairs:
            dy, x = dy.reshape(-1, shape[0]), x.reshape(-1, shape[1])
            if self.sampling == "bound":
                factors, dy, x = torch.ones(x.shape[0]), dy.abs(), x.abs()
            else:
                factors = torch.randint(2, x.shape[:1], generator=generator) * 2 - 1
            for total, each in zip(sums, (dy, x), strict=True):
                each = each.to(wide_type(each.dtype))
                total += factors.to(each) @ each
        first, second = (site.ranks.sum(each).abs_() for each in sums)
        return first, second


def _gradient_of_rows(site: Site) -> Callable[[slice, Connectivity], Tensor]:
    """Return what computes the gradient of a SparseLinear at places of some outputs, (nnz,).

    It takes these outputs and the places, whose rows count from the first of them. In- and output
    are arranged once for all. Summed over ranks, as `Site.gradient`.
    """
    layer, (outputs, inputs) = site.layer, site.layer.shape
    wide = _wide(site)
    backend = backends.select(layer.weights.device, wide, layer.backend)

    def arranged(x: Tensor, features: int) -> Tensor:
        return backend.arrange(x.to(wide).reshape(-1, features), layer.connectivity)

    pairs = [(arranged(x, inputs), arranged(dy, outputs)) for x, dy in site.step.pairs]

    def gradient(rows: slice, places: Connectivity) -> Tensor:
        terms = (backend.grad_values(dy[:, rows], x, places) for x, dy in pairs if places.nnz)
        total = next(terms, None)
        if total is None:
            total = torch.zeros(places.nnz, dtype=wide)
        for term in terms:
            total += term
        return site.ranks.sum(total)

    return gradient


def _wide(site: Site) -> torch.dtype:
    return wide_type(site.layer.weights.dtype)


def _draw(weights: Tensor | None, size: int, uniform: Tensor) -> Tensor:
    """Draw indices below `size` with chances ∝ `weights` (size,), or alike where there are none."""
    if weights is None or not 0.0 < float(weights.sum()) < float("inf"):
        return (uniform * size).long().clamp_(max=size - 1)
    sums = weights.cumsum(0)
    return torch.searchsorted(sums, uniform * sums[-1], right=True).clamp_(max=size - 1)

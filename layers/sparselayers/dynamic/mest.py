"""MEST: what is dropped has a small weight and a small gradient, and connections grow anywhere."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from sparselayers.dynamic.set import SET
from sparselayers.dynamic.site import Site


class MEST(SET):
    """Drop the smallest |w| + λ |∂L/∂w|, with λ = `gradient_weight`, and grow at random, in O(nnz).

    The gradient is that of the step, as the optimizer was given it: that of the connections which
    there are. The share that mutates falls with the steps ("elastic mutation", EM), here with a
    cosine; the authors' commands halve it after 90 of 160 epochs and end it after 120. For EM&S, in
    which more connections are trained at first, a `schedule` says how many when: in their commands
    a sparsity of 85% until epoch 90, of 87.5% until 120, of 90% from there
    (`sparselayers.prune.Stepwise`).

    Raises ValueError as `Rewirer` does, and for a negative `gradient_weight`.

    Source: Yuan et al. 2021, MEST (arXiv 2110.14032), and the authors' repository boone891214/MEST.
    Its λ is 0 where no other is given; 0.01 is what the authors of CHTs compare with.
    """

    weighs_gradient = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        *,
        gradient_weight: float = 0.01,
        **settings: Any,
    ) -> None:
        if not gradient_weight >= 0.0:
            raise ValueError(f"gradient_weight must be at least 0, got {gradient_weight}")
        self.gradient_weight = gradient_weight
        super().__init__(model, optimizer, **settings)

    def worth(self, site: Site) -> Tensor:
        """Return |w| + λ |g| of each connection, (nnz,)."""
        magnitudes = super().worth(site)
        gradient = site.step.gradient
        if gradient is None:
            return magnitudes
        return magnitudes.add(gradient.abs(), alpha=self.gradient_weight)

"""Growth by momentum: where the gradient has pointed to for many steps, not in one batch alone."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from sparselayers.dynamic.rewirer import Rewirer
from sparselayers.dynamic.site import Site


class MomentumGrowth(Rewirer):
    """Grow where the exponential average of the gradient of absent weights is largest.

    M = Σ_k β^k · g_k, with g_k the gradient of the dense weight k steps ago and β = `momentum`,
    over the last `window` steps; by default as many as it takes for the rest to be below 5% of the
    sum. The paper keeps M, of size out × in, for the whole training. Here the in- and outputs of
    these steps are kept instead, window · batch · (in + out) numbers, and M is made of them where
    it is needed, in blocks of rows as in `RigL`. They are part of `state_dict`.

    How many connections a layer has does not change; the paper moves them between layers, and
    replaces half of them at first where nothing else is said (`fraction` is 0.3 here).

    Raises ValueError as `Rewirer` does, and for a momentum outside [0, 1) or a window below 1.

    Source: Dettmers and Zettlemoyer 2019, Sparse Networks from Scratch (arXiv 1907.04840), and the
    authors' repository TimDettmers/sparse_learning.
    """

    keeps_structure = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        *,
        momentum: float = 0.9,
        window: int | None = None,
        **settings: Any,
    ) -> None:
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}")
        if window is not None and not (window >= 1 and int(window) == window):
            raise ValueError(f"window must be a positive integer, got {window}")
        self.momentum = momentum
        self.window = enough(momentum) if window is None else int(window)
        super().__init__(model, optimizer, **settings)

    def grow(self, site: Site, count: int) -> Tensor:
        """Return the keys of the `count` largest averages."""
        return site.largest(lambda rows: site.averaged_gradient(rows, self.momentum).abs_(), count)


def enough(momentum: float, rest: float = 0.05) -> int:
    """Return after how many terms those of Σ β^k that are left make at most `rest` of it."""
    return max(1, math.ceil(math.log(rest) / math.log(momentum))) if momentum > 0 else 1

"""GraNet: gradual pruning in which pruned places are regenerated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from sparselayers.dynamic.rigl import RigL

if TYPE_CHECKING:
    from sparselayers.prune import Schedule


class GraNet(RigL):
    """Prune by magnitude as `schedule` asks, then replace a share of what is left, as RigL does.

    The target at step t is that of `schedule`, Zhu and Gupta's cubic in the paper
    (`sparselayers.Gradual`), met with one threshold for all layers; `distribution="uniform"` meets
    it in each. After the last pruning it is RigL until `stop_after`. Pruning and rewiring happen
    in the same step where both are due: give both the same `update_every`. The model starts at the
    schedule's initial sparsity, or any that is below.

    The authors' code starts dense or half dense, ends pruning after 110 of 160 epochs, and lets the
    share that is replaced, half at first, fall with a cosine over the whole training: `fraction` is
    0.5 here, and `stop_after` yours.

    With random growth, `SET(..., schedule=...)`, this is gradual magnitude pruning with rewiring.

    Raises ValueError as `Rewirer` does.

    Source: Liu et al. 2021, Sparse Training via Boosting Pruning Plasticity with Neuroregeneration
    (GraNet, arXiv 2106.10404), and the authors' repository VITA-Group/GraNet.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        *,
        schedule: Schedule,
        distribution: Any = "global",
        fraction: float = 0.5,
        **settings: Any,
    ) -> None:
        own: dict[str, Any] = {
            "schedule": schedule,
            "distribution": distribution,
            "fraction": fraction,
        }
        super().__init__(model, optimizer, **own, **settings)

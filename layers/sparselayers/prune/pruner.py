"""Pruner: prunes a model by a schedule while it trains."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from sparselayers.change import check_changeable
from sparselayers.prune.magnitude import Distribution, prune_to_sparsity, sparse_layers
from sparselayers.prune.schedule import Schedule
from sparselayers.state import require_whole


class Pruner:
    """Remove the smallest weights of a model's sparse layers as `schedule` asks for it.

    Used like a scheduler: call `step()` after every `optimizer.step()`. Values, connections,
    gradients and the optimizer's state shrink together, in the parameters that the optimizer
    knows, so that training goes on with less of all of them. `distribution` and `skip` are those
    of `prune_to_sparsity`. A dense model is first made sparse without losing a weight:
    `convert_model(model, (nn.Linear, nn.Conv2d), "csr", keep_zeros=True)`.

    Not for DistributedDataParallel, whose gradient buckets have the sizes that parameters had when
    it was made: wrap the model anew after pruning.

    Raises ValueError as `prune_to_sparsity` does.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        schedule: Schedule,
        *,
        distribution: Distribution = "uniform",
        skip: Iterable[str] = (),
    ) -> None:
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.distribution: Distribution = distribution
        self.skip = tuple(skip)
        self.steps = 0
        check_changeable(sparse_layers(model), sparse_layers(model, self.skip), None)
        for layer in sparse_layers(model, self.skip).values():
            require_whole(layer)

    def step(self) -> int:
        """Count an optimization step; return how many connections were removed after it."""
        self.steps += 1
        target = self.schedule.sparsity(self.steps)
        if target is None:
            return 0
        return prune_to_sparsity(
            self.model,
            target,
            distribution=self.distribution,
            optimizer=self.optimizer,
            skip=self.skip,
        )

    @property
    def sparsity(self) -> float:
        """The fraction of their dense weights that the layers do not have any more."""
        layers = sparse_layers(self.model, self.skip).values()
        entries = sum(layer.shape[0] * layer.shape[1] for layer in layers)
        return 1.0 - sum(layer.weights.numel() for layer in layers) / entries

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps; connections and values are in the model's state."""
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.steps = int(state["steps"])

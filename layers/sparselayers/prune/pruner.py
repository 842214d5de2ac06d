"""Pruner: prunes a model by a schedule while it trains."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from sparselayers import structures
from sparselayers.change import check_changeable, unwrapped
from sparselayers.prune.magnitude import (
    Distribution,
    check_structure,
    prune_to_sparsity,
    sparse_layers,
)
from sparselayers.prune.schedule import Schedule
from sparselayers.prune.scores import Movement, Score, check_trained, magnitude
from sparselayers.state import require_whole
from sparselayers.structures import Structure


class Pruner:
    """Remove the weights of a model's sparse layers that count least as `schedule` asks for it.

    Used like a scheduler: call `step()` after every `optimizer.step()`. Values, connections,
    gradients and the optimizer's state shrink together, in the parameters that the optimizer
    knows, so that training goes on with less of all of them. `distribution`, `skip`, `score` and
    `structure` are those of `prune_to_sparsity`; a score that watches the training
    (`sparselayers.prune.Movement`) is shown every step of the optimizer. A dense model is first
    made sparse without losing a weight:
    `convert_model(model, (nn.Linear, nn.Conv2d), "csr", keep_zeros=True)`.

    Not for DistributedDataParallel, whose gradient buckets have the sizes that parameters had when
    it was made: wrap the model anew after pruning.

    Raises ValueError as `prune_to_sparsity` does, for a score that needs gradients of layers that
    are frozen, and for one that watches the training without an optimizer to watch.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        schedule: Schedule,
        *,
        distribution: Distribution = "uniform",
        skip: Iterable[str] = (),
        score: Score = magnitude,
        structure: Structure | str | None = None,
    ) -> None:
        optimizer = unwrapped(optimizer)
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.distribution: Distribution = distribution
        self.skip = tuple(skip)
        self.steps = 0
        check_changeable(sparse_layers(model), sparse_layers(model, self.skip), None)
        self.score = score
        layers = sparse_layers(model, self.skip)
        for layer in layers.values():
            require_whole(layer)
        check_trained(score, layers)
        self.structure = structures.named(structure)
        check_structure(self.structure, layers, distribution)
        if isinstance(score, Movement):
            if optimizer is None:
                raise ValueError("Movement watches the optimizer's steps: give the optimizer")
            self._show(optimizer, score)

    def __repr__(self) -> str:
        """Say how it prunes, and how many steps it has counted."""
        shown = {"steps": self.steps, "schedule": self.schedule, "distribution": self.distribution}
        shown |= {"skip": self.skip} if self.skip else {}
        return f"Pruner({', '.join(f'{k}={v!r}' for k, v in shown.items())})"

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
            score=self.score,
            structure=self.structure,
        )

    @property
    def sparsity(self) -> float:
        """The fraction of their dense weights that the layers do not have any more."""
        layers = sparse_layers(self.model, self.skip).values()
        entries = sum(layer.shape[0] * layer.shape[1] for layer in layers)
        return 1.0 - sum(layer.weights.numel() for layer in layers) / entries

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps; connections and values are in the model's state."""
        state: dict[str, Any] = {"steps": self.steps}
        if isinstance(self.score, Movement):
            layers = sparse_layers(self.model, self.skip)
            state["scores"] = {path: self.score(layer) for path, layer in layers.items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.steps = int(state["steps"])
        if isinstance(self.score, Movement):
            for path, layer in sparse_layers(self.model, self.skip).items():
                self.score.restore(layer, state["scores"][path])

    def _show(self, optimizer: Optimizer, score: Movement) -> None:
        """Have the score see the gradients of each step, without being held by the optimizer."""
        reference = weakref.ref(self)

        def before_step(*_: Any) -> None:
            pruner = reference()
            if pruner is not None:
                for layer in sparse_layers(pruner.model, pruner.skip).values():
                    score.observe(layer)

        handle = optimizer.register_step_pre_hook(before_step)
        weakref.finalize(self, handle.remove).atexit = False

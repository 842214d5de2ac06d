"""RigL without a controller in the training loop: what `dynamic=True` adds to a layer."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from sparselayers.change import check_changeable
from sparselayers.dynamic.rigl import RigL
from sparselayers.layer import SparseLayer


class SelfRewiring(SparseLayer):
    """A layer that can rewire itself after the steps of whichever optimizer has its values.

    Its settings are RigL's. The steps made are part of its state dict, and of its copies and
    pickles; a layer that is not dynamic ignores them.
    """

    dynamic: bool
    update_every: int
    stop_after: int
    fraction: float
    max_size: float
    _rewirer: RigL | None = None

    def rewire_itself(self, *, steps: int = 0) -> None:
        """Begin to, `steps` of the optimizer after the schedule's beginning.

        Raises ValueError where a setting is out of range.
        """
        self._rewirer = RigL(
            self,
            None,
            update_every=self.update_every,
            stop_after=self.stop_after,
            fraction=self.fraction,
            max_size=self.max_size,
        )
        self._rewirer.resume(steps)
        _follow_optimizers(self)

    def __getstate__(self) -> dict[str, Any]:
        steps = None if self._rewirer is None else self._rewirer.steps
        return self.__dict__ | {"_rewirer": steps}

    def __setstate__(self, state: dict[str, Any]) -> None:
        steps = state["_rewirer"]
        super().__setstate__(state | {"_rewirer": None})  # type: ignore[no-untyped-call]
        if steps is not None:
            self.rewire_itself(steps=steps)

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._rewirer is not None:
            steps = torch.tensor(self._rewirer.steps, dtype=torch.int32, device="cpu")
            destination[f"{prefix}steps"] = steps.to(self.weights.device)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        state = dict(state_dict)
        steps = state.pop(f"{prefix}steps", None)
        super()._load_from_state_dict(state, prefix, local_metadata, *args)
        if steps is None or self._rewirer is None:
            return
        if not isinstance(steps, Tensor) or steps.shape or steps.dtype != torch.int32:
            *_, error_msgs = args
            error_msgs.append(f"{prefix}steps must be one int32, got {steps}")
        elif not steps.is_meta:
            self._rewirer.resume(int(steps))


def _follow_optimizers(layer: SelfRewiring) -> None:
    """Make every optimizer's step, if it is one of the layer's values, one of its rewirer's.

    The hooks do not hold the layer, and go with it.
    """
    reference = weakref.ref(layer)

    def rewirer_of(optimizer: Optimizer) -> RigL | None:
        layer = reference()
        if layer is None or layer._rewirer is None:
            return None
        weights = layer.weights
        trained = any(p is weights for group in optimizer.param_groups for p in group["params"])
        return layer._rewirer if trained else None

    def before_step(optimizer: Optimizer, *_: Any) -> None:
        rewirer = rewirer_of(optimizer)
        if rewirer is not None:
            rewirer.prepare()

    def after_step(optimizer: Optimizer, *_: Any) -> None:
        rewirer, layer = rewirer_of(optimizer), reference()
        if rewirer is None or layer is None or not rewirer.observe(optimizer):
            return
        if rewirer.share(rewirer.steps + 1):
            _check_untied(layer)
        rewirer.step()
        rewirer.optimizer = None  # hold on to none

    _alive.add(layer)
    for handle in (
        register_optimizer_step_pre_hook(before_step),
        register_optimizer_step_post_hook(after_step),
    ):
        weakref.finalize(layer, handle.remove).atexit = False


_alive: weakref.WeakSet[SelfRewiring] = weakref.WeakSet()


def _check_untied(layer: SelfRewiring) -> None:
    """Raise ValueError where another layer that rewires itself has the same weights."""
    tied = [layer, *(each for each in _alive if each is not layer)]
    layers = {f"{number}: {each}": each for number, each in enumerate(tied)}
    check_changeable(layers, list(layers)[:1], None)

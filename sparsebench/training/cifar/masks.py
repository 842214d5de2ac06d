"""Pruning with the masks of torch.nn.utils.prune: nothing becomes smaller."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.utils import prune

from sparselayers.prune import Schedule
from sparselayers.structures.selection import largest


def cover(network: nn.Module) -> None:
    """Give every Linear and Conv2d a mask that lets all its weights through."""
    for layer in _layers(network):
        prune.identity(layer, "weight")  # type: ignore[no-untyped-call]


def keep_zeros(network: nn.Module) -> None:
    """Mask the zeros of every layer that is dense, which would be trained as well otherwise."""
    for layer in _layers(network):
        prune.custom_from_mask(  # type: ignore[no-untyped-call]
            layer, "weight", layer.get_parameter("weight").detach() != 0
        )


def prune_to(network: nn.Module, sparsity: float) -> int:
    """Mask the smallest weights of each layer: those that `sparselayers.prune_to_sparsity` removes.

    Of equal magnitudes those that come first go first, as there. Sparser layers stay as they are.
    Returns how many weights were masked.
    """
    masked = 0
    for layer in _layers(network):
        mask, weight = layer.weight_mask, layer.weight_orig
        assert isinstance(mask, Tensor)
        assert isinstance(weight, Tensor)
        keep, before = round((1.0 - sparsity) * mask.numel()), int(mask.sum())
        if keep < before:
            # Of the weights as they are now: `layer.weight` is that of the last forward pass.
            chosen = largest((weight.detach() * mask).abs().flatten(), keep).view(mask.shape)
            prune.custom_from_mask(layer, "weight", chosen)  # type: ignore[no-untyped-call]
            masked += before - keep
    return masked


class MaskPruner:
    """What `Pruner` is for sparse storage: called after every step, it follows a schedule.

    The optimizer's state stays: what it holds for masked weights changes nothing that is seen.
    """

    def __init__(self, network: nn.Module, schedule: Schedule) -> None:
        self.network, self.schedule, self.steps = network, schedule, 0

    def step(self) -> int:
        """Count an optimization step; return how many weights were masked after it."""
        self.steps += 1
        target = self.schedule.sparsity(self.steps)
        return 0 if target is None else prune_to(self.network, target)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps; the masks are in the network's state."""
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Continue where `state_dict` was taken."""
        self.steps = int(state["steps"])


def _layers(network: nn.Module) -> list[nn.Module]:
    return [layer for layer in network.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]

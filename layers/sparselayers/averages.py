"""AveragedModel: the running average of a model whose connections change while it trains."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import swa_utils

from sparselayers.change import change_connections
from sparselayers.layer import SparseLayer
from sparselayers.topology_change import TopologyChange

Average = Callable[[Tensor, Tensor, Tensor | int], Tensor]
Averages = Callable[[Any, Any, Tensor | int], None]


class AveragedModel(swa_utils.AveragedModel):
    """torch.optim.swa_utils.AveragedModel for models that are rewired, pruned or loaded.

    PyTorch's averages by place, and raises once the places mean other connections. This one has
    the connections of the model that it averages, at every time: those that stay keep their
    average, those that go take theirs along, and those that have grown start at 0, the weight
    that they had until then. So it is the average of the dense weights, zeros included.
    `n_averaged` goes on. Arguments and state dict are those of PyTorch's class.

    It follows `model` by a hook of its layers (`register_topology_hook`), which does not keep it
    alive; of a copy of it, and of another model given to `update_parameters`, connections are
    compared when parameters are updated.
    """

    def __init__(
        self,
        model: nn.Module,
        device: int | torch.device | None = None,
        avg_fn: Average | None = None,
        multi_avg_fn: Averages | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__(model, device, avg_fn, multi_avg_fn, use_buffers)
        for own, followed in self._pairs(model):
            _follow(own, followed)

    def update_parameters(self, model: nn.Module) -> None:
        """Average `model` in.

        Raises ValueError where it has other sparse layers than the model that was given first.
        """
        for own, followed in self._pairs(model):
            _take_over(own, followed)
        super().update_parameters(model)

    def _pairs(self, model: nn.Module) -> list[tuple[SparseLayer, SparseLayer]]:
        """The sparse layers of the average and of the model, in order."""
        own, followed = (
            [layer for layer in each.modules() if isinstance(layer, SparseLayer)]
            for each in (self.module, model)
        )
        if [layer.shape for layer in own] != [layer.shape for layer in followed]:
            raise ValueError(
                f"the model has sparse layers of shapes {[layer.shape for layer in followed]}, "
                f"that which is averaged {[layer.shape for layer in own]}"
            )
        return list(zip(own, followed, strict=True))


def _follow(own: SparseLayer, followed: SparseLayer) -> None:
    """Have `own` take over the connections of `followed` whenever they change."""
    reference = weakref.ref(own)

    def follow(followed: SparseLayer, _: TopologyChange) -> None:
        layer = reference()
        if layer is not None:
            _take_over(layer, followed)

    handle = followed.register_topology_hook(follow)
    weakref.finalize(own, handle.remove).atexit = False


def _take_over(own: SparseLayer, followed: SparseLayer) -> None:
    connectivity = followed.connectivity
    if not own.connectivity.equals(connectivity):
        change_connections(own, connectivity.to(own.weights.device))

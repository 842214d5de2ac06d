"""Lottery tickets: what was found by training and pruning begins again where it began."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparselayers.connectivity import Connectivity
from sparselayers.layer import SparseLayer
from sparselayers.topology_change import TopologyChange


class Ticket:
    """The parameters and buffers that `model` has now, to go back to once it has been pruned.

        ticket = Ticket(model)  # at the start, or after some steps
        ...  # train and prune
        ticket.rewind(optimizer)

    Source: Frankle and Carbin 2019, The Lottery Ticket Hypothesis (arXiv 1803.03635); rewinding to
    a later step: Frankle et al. 2020 (arXiv 1912.05671).
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._values: dict[str, Tensor] = {}
        self._connections: dict[str, Connectivity] = {}
        for name, tensor, layer in _tensors(model):
            self._values[name] = tensor.detach().clone()
            if layer is not None:
                self._connections[name] = layer.connectivity

    @torch.no_grad()
    def rewind(self, optimizer: Optimizer | None = None) -> None:
        """Give all that is left its value of then; connections that have grown since become 0.

        The connections stay those of now. What `optimizer` keeps for the parameters is forgotten.

        Raises ValueError where the model has other parameters or buffers than it had; nothing has
        changed then.
        """
        now = list(_tensors(self._model))
        for name, tensor, layer in now:
            old = self._values.get(name)
            if old is None or (layer is None and old.shape != tensor.shape):
                had = "nothing" if old is None else tuple(old.shape)
                raise ValueError(
                    f"the model cannot be rewound: {name} has shape {tuple(tensor.shape)} and was "
                    f"{had} when the ticket was made"
                )
        for name, tensor, layer in now:
            values = self._values[name]
            if layer is not None:
                change = TopologyChange(self._connections[name], layer.connectivity)
                values = change.carry(values.to(tensor.device))
            tensor.copy_(values)
            if optimizer is not None and isinstance(tensor, nn.Parameter):
                optimizer.state.pop(tensor, None)


def _tensors(model: nn.Module) -> Any:
    """Yield names, parameters and buffers, and for `weights` of a sparse layer the layer."""
    for path, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        own |= {n: b for n, b in module.named_buffers(recurse=False) if n != "topology_id"}
        sparse = module if isinstance(module, SparseLayer) else None
        for name, tensor in own.items():
            yield f"{path}.{name}".lstrip("."), tensor, sparse if name == "weights" else None

"""Replace some connections of a layer by others; all that belongs to a connection follows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from sparselayers.layer import SparseLayer
from sparselayers.topologies.keys import from_keys


@torch.no_grad()
def exchange(layer: SparseLayer, optimizer: Optimizer, old: Tensor, new: Tensor) -> None:
    """Rewire `layer` from the connections with keys `old` to those with keys `new`.

    Both are (nnz,), ascending. Connections in both keep their value, their gradient and their
    entry in every tensor of the optimizer's state that has one for each value; the others start
    at 0. Parameter, buffers and state stay the same objects. `new` is overwritten.
    """
    places = torch.searchsorted(old, new).clamp_(max=old.numel() - 1)
    grown = old[places] != new
    belongings = [layer.weights.detach(), *_tensors(optimizer.state.get(layer.weights, {}))]
    if layer.weights.grad is not None:
        belongings.append(layer.weights.grad)
    for tensor in belongings:
        if tensor.shape == layer.weights.shape:
            tensor.copy_(tensor[places].masked_fill_(grown, 0))
    layer.set_connections(from_keys(new, layer.shape), layer.weights.detach())


def _tensors(state: Any) -> Iterator[Tensor]:
    """Yield every tensor in an optimizer's state of a parameter, however it is nested."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        for entry in state.values():
            yield from _tensors(entry)
    elif isinstance(state, list | tuple):
        for entry in state:
            yield from _tensors(entry)

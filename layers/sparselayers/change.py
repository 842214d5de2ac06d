"""change_connections: what belongs to a connection follows it, whoever changes the topology."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparselayers.connectivity import Connectivity
from sparselayers.layer import SparseLayer
from sparselayers.state import require_whole, resize
from sparselayers.topology_change import TopologyChange


@torch.no_grad()
def change_connections(
    layer: SparseLayer, connectivity: Connectivity, optimizer: Optimizer | None = None
) -> None:
    """Give `layer` other connections, of any number.

    Connections that stay keep their weight, their gradient and their entry in every tensor of the
    optimizer's state that has one for each weight; those that are new start at 0. The parameter
    stays the same object, and so do gradient and state where the number of connections stays.
    Hooks of the layer are told when all of them are the new ones.

    Raises ValueError where the weights are sharded over processes or parametrized, and for an
    optimizer whose state is neither one number for each weight nor one for all (LBFGS); nothing
    has changed then. Whoever changes several layers asks `check_changeable` first.
    """
    require_whole(layer)
    weights = layer.weights
    change = TopologyChange(layer.connectivity, connectivity)
    state = {} if optimizer is None else optimizer.state.get(weights, {})
    for name, entry in state.items():
        _check(name, entry, change.old.nnz)
    columns = change.old.col  # held, for each of the tensors asks for it
    if change.new.nnz == change.old.nnz:
        gradient = [] if weights.grad is None else [weights.grad]
        change.move([weights.detach(), *gradient, *_each(state, change.old.nnz)])
    else:
        _resize(weights, state, change)
    layer._replace(change)
    del columns


def check_changeable(
    layers: Mapping[str, SparseLayer], changing: Iterable[str], optimizer: Optimizer | None
) -> None:
    """Raise ValueError where one of the layers that are to change cannot, so that none does.

    A layer cannot whose weights are sharded or parametrized; that shares them with another of
    `layers`, which would have its old connections with the new weights; or whose state in the
    optimizer cannot follow.
    """
    changing = list(changing)
    for name in changing:
        require_whole(layers[name])
    owners: dict[int, list[str]] = {}
    for name, layer in layers.items():
        owners.setdefault(id(layer.weights), []).append(name)
    for name in changing:
        weights = layers[name].weights
        tied = owners[id(weights)]
        if len(tied) > 1:
            raise ValueError(
                f"layers {' and '.join(repr(each) for each in tied)} share one parameter "
                "`weights`: the connections of one cannot change without those of the others. Give "
                "each a parameter of its own, or use one layer in all these places"
            )
        if optimizer is not None:
            for key, entry in optimizer.state.get(weights, {}).items():
                _check(key, entry, weights.numel())


def unwrapped(optimizer: Optimizer | None) -> Optimizer | None:
    """Return the optimizer that makes the steps: Hugging Face's accelerate wraps it in another."""
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
    return optimizer


def _check(name: str, entry: Any, nnz: int) -> None:
    """Raise ValueError where what an optimizer keeps cannot be told apart by connection."""
    if isinstance(entry, dict | list | tuple):
        for each in entry.values() if isinstance(entry, dict) else entry:
            _check(name, each, nnz)
    elif isinstance(entry, Tensor) and entry.shape != (nnz,) and entry.numel() > 1:
        raise ValueError(
            f"the optimizer's {name!r} has shape {tuple(entry.shape)}, not one number for each of "
            f"the {nnz} weights: it cannot be pruned or rewired"
        )


def _resize(weights: nn.Parameter, state: Any, change: TopologyChange) -> None:
    """Let the weights, their gradient and the optimizer's state have another number of entries."""
    own = change.carry(weights.detach())
    gradient = None if weights.grad is None else _carried(weights.grad, change)
    _carried(state, change)
    resize(weights, change.new.nnz)
    weights.copy_(own)
    weights.grad = gradient


def _each(entry: Any, nnz: int) -> Iterator[Tensor]:
    """Yield the tensors in `entry` that have a number for each connection."""
    if isinstance(entry, dict | list | tuple):
        for each in entry.values() if isinstance(entry, dict) else entry:
            yield from _each(each, nnz)
    elif isinstance(entry, Tensor) and entry.shape == (nnz,):
        yield entry


def _carried(entry: Any, change: TopologyChange) -> Any:
    """Return `entry` with all tensors (old nnz,) in it as they are for the new connections."""
    if isinstance(entry, dict):
        entry.update({key: _carried(each, change) for key, each in entry.items()})
    elif isinstance(entry, list):
        entry[:] = [_carried(each, change) for each in entry]
    elif type(entry) is tuple:
        return tuple(_carried(each, change) for each in entry)
    elif isinstance(entry, Tensor) and entry.shape == (change.old.nnz,):
        return change.carry(entry)
    return entry

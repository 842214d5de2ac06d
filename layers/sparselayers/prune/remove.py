"""remove_connections: a layer, its gradient and its optimizer's state, all made smaller at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from sparselayers.layer import SparseLayer


def remove_connections(
    layer: SparseLayer, keep: Tensor, optimizer: Optimizer | None = None
) -> None:
    """Keep the connections of `layer` for which the boolean `keep` (nnz,) is True.

    Values, gradient and whatever `optimizer` holds for each of the values (momentum, Adam's
    moments) become as short as what is kept; the parameter stays the same object.

    Raises ValueError where nothing would be left, and for an optimizer whose state is not one
    number for each value (LBFGS); nothing has changed then.
    """
    values = layer.weights
    if keep.dtype != torch.bool or keep.shape != values.shape:
        raise ValueError(
            f"keep must be {values.numel()} booleans, one for each connection, "
            f"got {keep.dtype} {tuple(keep.shape)}"
        )
    if not bool(keep.any()):
        raise ValueError(f"pruning would leave no connection in a layer of shape {layer.shape}")
    if bool(keep.all()):
        return
    state = {} if optimizer is None else optimizer.state.get(values, {})
    shorter = {name: _shorter(name, entry, keep) for name, entry in state.items()}
    gradient = None if values.grad is None else values.grad[keep]
    layer.set_connections(layer.connectivity.select(keep), values.detach()[keep])
    values.grad = gradient
    state.update(shorter)


def _shorter(name: str, entry: Any, keep: Tensor) -> Any:
    """Return what an optimizer keeps for a parameter, for what is kept of the parameter."""
    if not isinstance(entry, Tensor) or entry.dim() == 0 or entry.numel() == 1 < keep.numel():
        if isinstance(entry, list | tuple | dict):
            raise ValueError(f"the optimizer's {name!r} cannot be pruned: it is no tensor")
        return entry
    if entry.shape != keep.shape:
        raise ValueError(
            f"the optimizer's {name!r} has shape {tuple(entry.shape)}, not one number for each of "
            f"the {keep.numel()} values: it cannot be pruned"
        )
    return entry[keep]

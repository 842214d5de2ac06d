"""remove_connections: a layer, its gradient and its optimizer's state, all made smaller at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from sparselayers.change import change_connections
from sparselayers.layer import SparseLayer


def remove_connections(
    layer: SparseLayer, keep: Tensor, optimizer: Optimizer | None = None
) -> None:
    """Keep the connections of `layer` for which the boolean `keep` (nnz,) is True.

    Weights, gradient and whatever `optimizer` holds for each of the weights (momentum, Adam's
    moments) become as short as what is kept; the parameter stays the same object.

    Raises ValueError where nothing would be left, and for an optimizer whose state is not one
    number for each weight (LBFGS); nothing has changed then.
    """
    nnz = layer.weights.numel()
    if keep.dtype != torch.bool or keep.shape != (nnz,):
        raise ValueError(
            f"keep must be {nnz} booleans, one for each connection, "
            f"got {keep.dtype} {tuple(keep.shape)}"
        )
    if not bool(keep.any()):
        raise ValueError(f"pruning would leave no connection in a layer of shape {layer.shape}")
    if not bool(keep.all()):
        change_connections(layer, layer.connectivity.select(keep), optimizer)

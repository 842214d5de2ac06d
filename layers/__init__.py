"""Truly sparse PyTorch layers: weights that are zero are neither stored nor multiplied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layers import activationsparsity
from layers.activation import ActivationSparsity, KWinners, KWinners2d
from layers.connectivity import Connectivity
from layers.conv import SparseConv2d
from layers.convert import convert_model, sparsify
from layers.dynamic import SET, RigL
from layers.linear import SparseLinear
from layers.prune import Gradual, Pruner
from layers.topologies import (
    erdos_renyi,
    erdos_renyi_sparsities,
    from_edges,
    from_mask,
    random,
    small_world,
)

if TYPE_CHECKING:
    from sparsebench.advisor import Advice


def advise(
    in_features: int,
    out_features: int,
    *,
    sparsity: float,
    batch: int,
    train: bool = False,
    by_memory: bool = False,
) -> Advice | None:
    """Say which implementation serves a linear layer best on this machine: `Advice.best`.

    See `sparsebench.advisor.advise`, which this calls: answers come from records below `results`,
    or are measured within 20 seconds.
    """
    from sparsebench import advisor  # measuring needs layers, never the other way round

    return advisor.advise(
        in_features, out_features, sparsity=sparsity, batch=batch, train=train, by_memory=by_memory
    )


__all__ = [
    "SET",
    "ActivationSparsity",
    "Connectivity",
    "Gradual",
    "KWinners",
    "KWinners2d",
    "Pruner",
    "RigL",
    "SparseConv2d",
    "SparseLinear",
    "activationsparsity",
    "advise",
    "convert_model",
    "erdos_renyi",
    "erdos_renyi_sparsities",
    "from_edges",
    "from_mask",
    "random",
    "small_world",
    "sparsify",
]

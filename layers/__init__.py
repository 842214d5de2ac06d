"""Truly sparse PyTorch layers: weights that are zero are neither stored nor multiplied."""

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
    "convert_model",
    "erdos_renyi",
    "erdos_renyi_sparsities",
    "from_edges",
    "from_mask",
    "random",
    "small_world",
    "sparsify",
]

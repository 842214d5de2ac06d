"""Truly sparse PyTorch layers: weights that are zero are neither stored nor multiplied.

Which weights exist says a `connectivity`, made by one of `topologies`; `layer` and what is derived
from it hold the numbers; `backends` multiply; `dynamic` and `prune` change connections, `convert`
makes dense layers sparse. How the parts fit together: layers/README.md in the repository.
"""

from __future__ import annotations

from sparselayers import activationsparsity, structures
from sparselayers.activation import KWinners, KWinners2d
from sparselayers.attention import SparseMultiheadAttention
from sparselayers.averages import AveragedModel
from sparselayers.compat import ActivationSparsity
from sparselayers.connectivity import Connectivity
from sparselayers.conv import SparseConv2d
from sparselayers.conv1d import SparseConv1d
from sparselayers.convert import convert_model, export_onnx, sparsify
from sparselayers.dynamic import CHT, GSE, MEST, SET, CHTs, GraNet, MomentumGrowth, RigL, TopKAST
from sparselayers.groups import parameter_groups
from sparselayers.linear import SparseLinear
from sparselayers.prune import Gradual, Pruner, Sigmoid
from sparselayers.saved import load_pretrained, save_pretrained
from sparselayers.topologies import (
    blocks,
    constant_fan_in,
    correlated,
    erdos_renyi,
    erdos_renyi_sparsities,
    from_edges,
    from_mask,
    n_of_m,
    random,
    receptive_fields,
    small_world,
)

__version__ = "0.1.0"  # of the distribution, whose other package reads it here

__all__ = [
    "CHT",
    "GSE",
    "MEST",
    "SET",
    "ActivationSparsity",
    "AveragedModel",
    "CHTs",
    "Connectivity",
    "GraNet",
    "Gradual",
    "KWinners",
    "KWinners2d",
    "MomentumGrowth",
    "Pruner",
    "RigL",
    "Sigmoid",
    "SparseConv1d",
    "SparseConv2d",
    "SparseLinear",
    "SparseMultiheadAttention",
    "TopKAST",
    "activationsparsity",
    "blocks",
    "constant_fan_in",
    "convert_model",
    "correlated",
    "erdos_renyi",
    "erdos_renyi_sparsities",
    "export_onnx",
    "from_edges",
    "from_mask",
    "load_pretrained",
    "n_of_m",
    "parameter_groups",
    "random",
    "receptive_fields",
    "save_pretrained",
    "small_world",
    "sparsify",
    "structures",
]

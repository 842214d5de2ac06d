"""Pruning sparse layers: what goes, when it goes, and training that continues in less storage."""

from sparselayers.prune.fraction import (
    prune_smallest_values,
    prune_sparse_model,
    set_global_k,
    set_k,
)
from sparselayers.prune.magnitude import Distribution, prune_to_sparsity
from sparselayers.prune.pruner import Pruner
from sparselayers.prune.remove import remove_connections
from sparselayers.prune.schedule import Gradual, Schedule

__all__ = [
    "Distribution",
    "Gradual",
    "Pruner",
    "Schedule",
    "prune_smallest_values",
    "prune_sparse_model",
    "prune_to_sparsity",
    "remove_connections",
    "set_global_k",
    "set_k",
]

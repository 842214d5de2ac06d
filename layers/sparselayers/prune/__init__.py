"""Pruning sparse layers: what goes, when it goes, and training that continues in less storage."""

from sparselayers.prune.magnitude import Distribution, prune_to_sparsity
from sparselayers.prune.pruner import Pruner
from sparselayers.prune.remove import remove_connections
from sparselayers.prune.schedule import Gradual, Schedule

__all__ = [
    "Distribution",
    "Gradual",
    "Pruner",
    "Schedule",
    "prune_to_sparsity",
    "remove_connections",
]

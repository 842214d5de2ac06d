"""Pruning sparse layers: what goes, when it goes, and training that continues in less storage.

`scores`, `snip`, `grasp` and `synflow` say what is worth least, `schedule` when, `magnitude` and
`remove` take it out, `pruner` does so while a model trains. Uses layers and `change`; layers know
nothing of it.
"""

from sparselayers.prune.grasp import grasp
from sparselayers.prune.magnitude import Distribution, prune_to_sparsity
from sparselayers.prune.pruner import Pruner
from sparselayers.prune.remove import remove_connections
from sparselayers.prune.rewinding import Ticket
from sparselayers.prune.schedule import Gradual, Schedule, Sigmoid, Stepwise
from sparselayers.prune.scores import Movement, Score, magnitude, taylor
from sparselayers.prune.snip import snip
from sparselayers.prune.synflow import prune_by_synflow, synflow

__all__ = [
    "Distribution",
    "Gradual",
    "Movement",
    "Pruner",
    "Schedule",
    "Score",
    "Sigmoid",
    "Stepwise",
    "Ticket",
    "grasp",
    "magnitude",
    "prune_by_synflow",
    "prune_to_sparsity",
    "remove_connections",
    "snip",
    "synflow",
    "taylor",
]

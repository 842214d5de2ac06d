"""Ways to choose the connections of a layer: each a function that returns a Connectivity.

All of them cost O(nnz) memory, and all but `correlated` O(nnz) time: nothing of size out × in is
ever made. Those for which a shape and a sparsity suffice register themselves (`registry`); so does
one in a new file here.
"""

import pkgutil
from importlib import import_module

from sparselayers.topologies.blocks import blocks
from sparselayers.topologies.constant_fan_in import constant_fan_in
from sparselayers.topologies.correlated import correlated
from sparselayers.topologies.distribution import erdos_renyi_sparsities
from sparselayers.topologies.given import from_edges, from_mask
from sparselayers.topologies.keys import number_of_connections
from sparselayers.topologies.n_of_m import n_of_m
from sparselayers.topologies.receptive_fields import receptive_fields
from sparselayers.topologies.registry import DRAWN, drawn
from sparselayers.topologies.small_world import small_world
from sparselayers.topologies.uniform import erdos_renyi, random

__all__ = [
    "DRAWN",
    "blocks",
    "constant_fan_in",
    "correlated",
    "drawn",
    "erdos_renyi",
    "erdos_renyi_sparsities",
    "from_edges",
    "from_mask",
    "n_of_m",
    "number_of_connections",
    "random",
    "receptive_fields",
    "small_world",
]

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

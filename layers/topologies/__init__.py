"""Ways to choose the connections of a layer: each a function that returns a Connectivity.

All of them cost O(nnz) time and memory: nothing of size out × in is ever made.
"""

from layers.topologies.distribution import erdos_renyi_sparsities
from layers.topologies.given import from_edges, from_mask
from layers.topologies.keys import number_of_connections
from layers.topologies.small_world import small_world
from layers.topologies.uniform import erdos_renyi, random

__all__ = [
    "erdos_renyi",
    "erdos_renyi_sparsities",
    "from_edges",
    "from_mask",
    "number_of_connections",
    "random",
    "small_world",
]

"""Structures: connections that come in blocks, N of every M, or as many for every output.

A structure draws connections that keep it, says whether given ones do, and chooses by score which
stay. Conversion and pruning prune to one, RigL and others rewire within one: `structure=` there
takes a Structure or its name, such as "8x1", "2:4" or "fan-in".
"""

from sparselayers.structures.blocks import Blocks
from sparselayers.structures.constant_fan_in import ConstantFanIn
from sparselayers.structures.n_of_m import NofM
from sparselayers.structures.names import named
from sparselayers.structures.structure import Structure
from sparselayers.structures.unstructured import Unstructured

__all__ = ["Blocks", "ConstantFanIn", "NofM", "Structure", "Unstructured", "named"]

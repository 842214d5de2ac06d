"""Our layer in a CUDA graph: its step without the time that launching its kernels takes.

Capturing is part of building. Memory is not measured: a graph keeps what it uses.
"""

from __future__ import annotations

from torch import nn

from sparsebench.cases.problem import Problem
from sparsebench.implementations.graphs import graphed
from sparsebench.implementations.ours import Ours


class OursGraph(Ours):
    """`ours` in a `torch.cuda.CUDAGraph` of the whole step."""

    name = "ours_graph"
    operations = ("linear",)
    devices = ("cuda",)
    stands_in = False

    def build(self, problem: Problem) -> nn.Module:
        """Make the layer, and have its steps captured."""
        return graphed(super().build(problem), problem)

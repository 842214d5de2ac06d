"""Small-worldness of a layer as a bipartite graph: clustered, and yet with short ways."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sparselayers.connectivity import Connectivity
from sparselayers.dynamic.paths import Graph, Side, shared
from sparselayers.topologies import random


@dataclass(frozen=True)
class SmallWorld:
    """Clustering and mean distance of a layer, and of a random one with as many connections.

    `clustering` is the share of paths of length three that are closed by a fourth link, `distance`
    the mean number of links between two neurons that are connected at all. `worldness` is
    (clustering / its random value) / (distance / its random value): well above 1 for small worlds.
    NaN where nothing is there to be measured.
    """

    clustering: float
    distance: float
    random_clustering: float
    random_distance: float

    @property
    def worldness(self) -> float:
        """Return σ, the small-worldness."""
        return _ratio(
            _ratio(self.clustering, self.random_clustering),
            _ratio(self.distance, self.random_distance),
        )


def small_worldness(
    connectivity: Connectivity, *, sources: int = 64, generator: torch.Generator | None = None
) -> SmallWorld:
    """Measure how far a layer is a small world.

    Distances are those from `sources` outputs drawn at random (all, where there are no more). Costs
    O(paths of length two + sources · nnz).

    Raises ValueError for sources that are not positive.

    Source: Watts and Strogatz 1998 (Nature 393); Humphries and Gurney 2008 (doi
    10.1371/journal.pone.0002051) for σ; Robins and Alexander 2004 (doi
    10.1023/B:CMOT.0000032580.12184.c0) for clustering in bipartite graphs.
    """
    if sources < 1:
        raise ValueError(f"sources must be at least 1, got {sources}")
    own = connectivity.to("cpu")
    generator = generator or torch.Generator().manual_seed(0)
    other = random(own.shape, own.sparsity, generator=generator)
    measured = []
    for each in (own, other):
        graph = Graph(each)
        chosen = torch.randperm(each.shape[0], generator=generator)[:sources]
        measured.append((_clustering(graph), _distance(graph, chosen)))
    return SmallWorld(*measured[0], *measured[1])


def _clustering(graph: Graph) -> float:
    """4 · squares / paths of length three."""
    nodes = torch.arange(graph.shape[0])
    pairs = shared(graph.outputs, graph.inputs, nodes)
    apart = pairs.first < pairs.second
    common = pairs.common[apart].double()
    squares = float((common * (common - 1) / 2).sum())
    row, col = graph.connectivity.row.long(), graph.connectivity.col.long()
    ways = (graph.outputs.degrees[row] - 1).double() * (graph.inputs.degrees[col] - 1).double()
    return _ratio(4.0 * squares, float(ways.sum()))


def _distance(graph: Graph, sources: torch.Tensor) -> float:
    """The mean distance from outputs to all other neurons that can be reached."""
    total, reached = 0, 0
    for source in sources.tolist():
        seen = [torch.zeros(size, dtype=torch.bool) for size in graph.shape]
        front, side, steps = torch.tensor([source]), 0, 0
        seen[0][source] = True
        while front.numel():
            steps, side = steps + 1, 1 - side
            front = _next(graph.outputs if side else graph.inputs, front, seen[side])
            total, reached = total + steps * front.numel(), reached + front.numel()
    return _ratio(total, reached)


def _next(side: Side, front: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Return the neighbours of `front` that were not seen before, and mark them."""
    _, neighbours = side.follow(front)
    fresh: torch.Tensor = torch.unique(neighbours[~seen[neighbours]])
    seen[fresh] = True
    return fresh


def _ratio(a: float, b: float) -> float:
    return a / b if b else float("nan")

"""Paths through several layers: how many there are, and which connections are on none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from sparselayers.layer import SparseLayer


@dataclass(frozen=True, eq=False)
class Flow:
    """What flows through a chain of layers, each of which takes the outputs of the one before.

    `paths` is the number of paths from an input of the first to an output of the last layer;
    `depth` how many of the layers, from the first on, an input reaches; `effective` how many
    connections of each layer are on a path, and `units` how many outputs of each layer are.
    """

    paths: float
    depth: int
    effective: tuple[int, ...]
    units: tuple[int, ...]


def flow(layers: Sequence[nn.Module]) -> Flow:
    """Count the paths through `layers`, sparse ones and nn.Linear, in O(nnz).

    Numbers of paths are float64, and infinite where that overflows. Biases are no paths.

    Raises ValueError for no layer at all, one of another type, and one that does not take the
    outputs of the one before.

    Source: Vysogorets and Kempe 2021, Connectivity Matters (effective sparsity, arXiv 2107.02306).
    """
    _check(layers)
    forward = [torch.ones(_shape(layers[0])[1], dtype=torch.float64)]
    for layer in layers:
        forward.append(_through(layer, forward[-1]))
    backward = [torch.ones(_shape(layers[-1])[0], dtype=torch.float64)]
    for layer in reversed(layers):
        backward.append(_through(layer, backward[-1], back=True))
    backward.reverse()
    reached = [bool((counts > 0).any()) for counts in forward[1:]]
    effective = [
        _between(layer, forward[i] > 0, backward[i + 1] > 0) for i, layer in enumerate(layers)
    ]
    units = [int(((f > 0) & (b > 0)).sum()) for f, b in zip(forward[1:], backward[1:], strict=True)]
    return Flow(float(forward[-1].sum()), sum(reached), tuple(effective), tuple(units))


def fits(layers: Sequence[nn.Module]) -> bool:
    """Whether each of `layers` takes the outputs of the one before."""
    shapes = [_shape(layer) for layer in layers]
    return all(a[0] == b[1] for a, b in pairwise(shapes))


def _shape(layer: nn.Module) -> tuple[int, int]:
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    assert isinstance(layer, SparseLayer)
    return layer.shape


def _check(layers: Sequence[nn.Module]) -> None:
    if not layers:
        raise ValueError("give at least one layer")
    for place, layer in enumerate(layers):
        if not isinstance(layer, SparseLayer | nn.Linear):
            raise ValueError(
                f"layer {place} must be a sparse layer or nn.Linear, got {type(layer).__name__}"
            )
        if place and _shape(layers[place - 1])[0] != _shape(layer)[1]:
            raise ValueError(
                f"layer {place} takes {_shape(layer)[1]} inputs, and layer {place - 1} has "
                f"{_shape(layers[place - 1])[0]} outputs"
            )


def _through(layer: nn.Module, counts: Tensor, *, back: bool = False) -> Tensor:
    """Return how many paths there are after another layer, or before it."""
    outputs, inputs = _shape(layer)
    size = inputs if back else outputs
    if not isinstance(layer, SparseLayer):
        return counts.sum().repeat(size)
    row, col = (each.cpu() for each in layer.indices)
    here, there = (row, col) if back else (col, row)
    return counts.new_zeros(size).index_add_(0, there, counts[here])


def _between(layer: nn.Module, reached: Tensor, useful: Tensor) -> int:
    if not isinstance(layer, SparseLayer):
        return int(reached.sum()) * int(useful.sum())
    row, col = (each.cpu() for each in layer.indices)
    return int((reached[col] & useful[row]).sum())

"""Pruning to a target: what has the smallest score goes, wherever the target is set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparselayers import structures
from sparselayers.accumulation import wide_type
from sparselayers.change import check_changeable
from sparselayers.fraction import check_sparsity
from sparselayers.layer import SparseLayer
from sparselayers.prune.remove import remove_connections
from sparselayers.prune.scores import Score, magnitude, scores_of
from sparselayers.structures import Structure
from sparselayers.structures.selection import largest
from sparselayers.topologies import erdos_renyi_sparsities

Distribution = Literal["uniform", "global", "er", "erk"]


def prune_to_sparsity(
    model: nn.Module,
    sparsity: float,
    *,
    distribution: Distribution = "uniform",
    optimizer: Optimizer | None = None,
    skip: Iterable[str] = (),
    score: Score = magnitude,
    structure: Structure | str | None = None,
) -> int:
    """Remove the weights of the model's sparse layers with the smallest scores; return how many.

    `sparsity` is the fraction of all weights that a dense model would have in these layers.
    `distribution` says how it is spread: "uniform" the same in each; "global" by one threshold
    for all, though the best weight of each layer stays; "er" and "erk" as Erdős–Rényi graphs
    scale, without and with the size of kernels (`sparselayers.topologies.erdos_renyi_sparsities`).
    Layers that are sparser than their target stay as they are. `score` is a function of a layer
    that returns a number for each of its connections, (nnz,): by default the magnitude of the
    weight (`sparselayers.prune` has others). Of equal scores those that come first in the layer go
    first, and NaNs count as the largest.

    With a `structure` (`sparselayers.structures`, or its name such as "8x1" or "2:4") what stays
    has it, and as many weights stay as come nearest to `sparsity` so: whole blocks by the sum of
    their scores, the best N of every M, as many of each output. Nothing is added for it: blocks
    that a layer has in part, or groups with too few, are refused. N:M and a constant fan-in cannot
    be spread "global".

    `skip` names layers, as
    `named_modules` does, to leave alone. With `optimizer`, its state is taken along.

    Raises ValueError for a sparsity outside [0, 1), one that would leave no connection in a
    layer, an unknown distribution or name, a model without sparse layers, layers that share their
    weights, a score that is not one number for each connection, a structure that a layer cannot
    have, and an optimizer whose state cannot follow; the model is unchanged then.
    """
    check_sparsity(sparsity)
    if distribution not in get_args(Distribution):
        allowed = ", ".join(get_args(Distribution))
        raise ValueError(f"distribution must be one of {allowed}, got {distribution!r}")
    layers = sparse_layers(model, skip)
    kept = structures.named(structure)
    check_structure(kept, layers, distribution)
    scores = [scores_of(score, path, layer) for path, layer in layers.items()]
    keeps = (
        _global(layers, scores, sparsity, kept)
        if distribution == "global"
        else _per_layer(
            layers, scores, _targets(list(layers.values()), sparsity, distribution), kept
        )
    )
    removed = [keep.numel() - int(keep.sum()) for keep in keeps]
    fewer = [path for path, count in zip(layers, removed, strict=True) if count]
    check_changeable(sparse_layers(model), fewer, optimizer)
    for layer, keep in zip(layers.values(), keeps, strict=True):
        remove_connections(layer, keep, optimizer)
    return sum(removed)


def sparse_layers(model: nn.Module, skip: Iterable[str] = ()) -> dict[str, SparseLayer]:
    """Return the sparse layers of `model` by path, but for those that `skip` names.

    Raises ValueError where there are none, or where there is none of a name in `skip`.
    """
    layers = {path: m for path, m in model.named_modules() if isinstance(m, SparseLayer)}
    for path in skip:
        if path not in layers:
            raise ValueError(f"the model has no sparse layer {path!r} to skip")
        del layers[path]
    if not layers:
        raise ValueError(
            "the model has no sparse layers: convert it first (sparselayers.convert_model)"
        )
    return layers


def check_structure(
    structure: Structure, layers: Mapping[str, SparseLayer], distribution: Distribution
) -> None:
    """Raise ValueError where layers cannot have the structure."""
    for path, layer in layers.items():
        with naming(path):
            structure.check_shape(layer.shape)
        if distribution == "global" and structure.group(layer.shape) is not None:
            raise ValueError(
                f"distribution 'global' and structure {structure} exclude each other: it has as "
                "many weights everywhere"
            )


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Put the path of a layer before what a ValueError says."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path or 'the layer'}: {error}") from error


def _targets(
    layers: Sequence[SparseLayer], sparsity: float, distribution: Distribution
) -> list[float]:
    if distribution == "uniform":
        return [sparsity] * len(layers)
    shapes = [layer.weight_shape for layer in layers]
    return erdos_renyi_sparsities(shapes, sparsity, kernel=distribution == "erk")


def _per_layer(
    layers: Mapping[str, SparseLayer],
    scores: Sequence[Tensor],
    targets: Sequence[float],
    structure: Structure,
) -> list[Tensor]:
    keeps = []
    for (path, layer), values, target in zip(layers.items(), scores, targets, strict=True):
        with naming(path):
            keeps.append(structure.select(layer.connectivity, values, target))
    return keeps


def _global(
    layers: Mapping[str, SparseLayer],
    scores: Sequence[Tensor],
    sparsity: float,
    structure: Structure,
) -> list[Tensor]:
    total, wide = 0, []
    for (path, layer), values in zip(layers.items(), scores, strict=True):
        with naming(path):
            sums = structure.sums(layer.connectivity, values)
        sums = sums.to(wide_type(sums.dtype), copy=True)
        sums[sums.argmax()] = math.inf
        wide.append(sums)
        total += math.prod(structure.grid(layer.shape))
    count = round((1.0 - sparsity) * total)
    if count < len(layers):
        units = "connections" if structure == structures.Unstructured() else f"units of {structure}"
        raise ValueError(
            f"sparsity {sparsity} leaves {count} {units} in {len(layers)} layers: each needs one"
        )
    everything = torch.cat(wide)
    keep = largest(everything, min(count, everything.numel()))
    pieces = torch.split(keep, [sums.numel() for sums in wide])
    return [
        structure.of_units(layer.connectivity, piece)
        for layer, piece in zip(layers.values(), pieces, strict=True)
    ]

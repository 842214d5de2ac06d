"""Pruning to a target: what has the smallest score goes, wherever the target is set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparselayers.change import check_changeable
from sparselayers.layer import SparseLayer
from sparselayers.prune.remove import remove_connections
from sparselayers.prune.scores import Score, magnitude, scores_of
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
) -> int:
    """Remove the weights of the model's sparse layers with the smallest scores; return how many.

    `sparsity` is the fraction of all weights that a dense model would have in these layers.
    `distribution` says how it is spread: "uniform" the same in each; "global" by one threshold
    for all, though the best weight of each layer stays; "er" and "erk" as Erdős–Rényi graphs
    scale, without and with the size of kernels (`sparselayers.topologies.erdos_renyi_sparsities`).
    Layers that are sparser than their target stay as they are. `score` is a function of a layer
    that returns a number for each of its connections, (nnz,): by default the magnitude of the
    weight (`sparselayers.prune` has others). Of equal scores those that come first in the layer go
    first, and NaNs count as the largest. `skip` names layers, as
    `named_modules` does, to leave alone. With `optimizer`, its state is taken along.

    Raises ValueError for a sparsity outside [0, 1), one that would leave no connection in a
    layer, an unknown distribution or name, a model without sparse layers, layers that share their
    weights, a score that is not one number for each connection, and an optimizer whose state
    cannot follow; the model is unchanged then.
    """
    if not 0.0 <= sparsity < 1.0:
        raise ValueError(f"sparsity must be in [0, 1), got {sparsity}")
    if distribution not in get_args(Distribution):
        allowed = ", ".join(get_args(Distribution))
        raise ValueError(f"distribution must be one of {allowed}, got {distribution!r}")
    layers = sparse_layers(model, skip)
    scores = [scores_of(score, path, layer) for path, layer in layers.items()]
    keeps = (
        _global(list(layers.values()), scores, sparsity)
        if distribution == "global"
        else _per_layer(layers, scores, _targets(list(layers.values()), sparsity, distribution))
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


def largest(scores: Tensor, count: int) -> Tensor:
    """Return booleans, True for the `count` largest scores."""
    keep = torch.zeros_like(scores, dtype=torch.bool)
    # Only a stable sort says which of equal scores go.
    keep[torch.argsort(scores, stable=True)[scores.numel() - count :]] = True
    return keep


def _targets(
    layers: Sequence[SparseLayer], sparsity: float, distribution: Distribution
) -> list[float]:
    if distribution == "uniform":
        return [sparsity] * len(layers)
    shapes = [layer.weight_shape for layer in layers]
    return erdos_renyi_sparsities(shapes, sparsity, kernel=distribution == "erk")


def _per_layer(
    layers: dict[str, SparseLayer], scores: Sequence[Tensor], targets: Sequence[float]
) -> list[Tensor]:
    keeps = []
    for (path, layer), values, target in zip(layers.items(), scores, targets, strict=True):
        count = round((1.0 - target) * math.prod(layer.shape))
        if count == 0:
            raise ValueError(
                f"{path or 'the layer'}: sparsity {target:.6g} leaves no connection in a layer of "
                f"shape {layer.shape}"
            )
        keeps.append(largest(values, min(count, values.numel())))
    return keeps


def _global(
    layers: Sequence[SparseLayer], scores: Sequence[Tensor], sparsity: float
) -> list[Tensor]:
    total = sum(math.prod(layer.shape) for layer in layers)
    wide = [
        values.to(torch.promote_types(values.dtype, torch.float32), copy=True) for values in scores
    ]
    for values in wide:
        values[values.argmax()] = math.inf
    count = round((1.0 - sparsity) * total)
    if count < len(layers):
        raise ValueError(
            f"sparsity {sparsity} leaves {count} connections in {len(layers)} layers: "
            f"each needs one"
        )
    everything = torch.cat(wide)
    keep = largest(everything, min(count, everything.numel()))
    return list(torch.split(keep, [values.numel() for values in wide]))

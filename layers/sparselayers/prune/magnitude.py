"""Magnitude pruning to a target: the smallest weights go, wherever the target is set."""

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
from sparselayers.topologies import erdos_renyi_sparsities

Distribution = Literal["uniform", "global", "er", "erk"]


def prune_to_sparsity(
    model: nn.Module,
    sparsity: float,
    *,
    distribution: Distribution = "uniform",
    optimizer: Optimizer | None = None,
    skip: Iterable[str] = (),
) -> int:
    """Remove the smallest weights of the model's sparse layers; return how many.

    `sparsity` is the fraction of all weights that a dense model would have in these layers.
    `distribution` says how it is spread: "uniform" the same in each; "global" by one threshold
    for all, though the largest weight of each layer stays; "er" and "erk" as Erdős–Rényi graphs
    scale, without and with the size of kernels (`sparselayers.topologies.erdos_renyi_sparsities`).
    Layers that are sparser than their target stay as they are. Of equal magnitudes those that
    come first in the layer go first, and NaNs count as the largest. `skip` names layers, as
    `named_modules` does, to leave alone. With `optimizer`, its state is taken along.

    Raises ValueError for a sparsity outside [0, 1), one that would leave no connection in a
    layer, an unknown distribution or name, a model without sparse layers, layers that share their
    weights, and an optimizer whose state cannot follow; the model is unchanged then.
    """
    if not 0.0 <= sparsity < 1.0:
        raise ValueError(f"sparsity must be in [0, 1), got {sparsity}")
    if distribution not in get_args(Distribution):
        allowed = ", ".join(get_args(Distribution))
        raise ValueError(f"distribution must be one of {allowed}, got {distribution!r}")
    layers = sparse_layers(model, skip)
    keeps = (
        _global(list(layers.values()), sparsity)
        if distribution == "global"
        else _per_layer(layers, _targets(list(layers.values()), sparsity, distribution))
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


def largest(values: Tensor, count: int) -> Tensor:
    """Return booleans, True for the `count` values of largest magnitude."""
    keep = torch.zeros_like(values, dtype=torch.bool)
    # Only a stable sort says which of equal magnitudes go.
    keep[torch.argsort(values.detach().abs(), stable=True)[values.numel() - count :]] = True
    return keep


def _targets(
    layers: Sequence[SparseLayer], sparsity: float, distribution: Distribution
) -> list[float]:
    if distribution == "uniform":
        return [sparsity] * len(layers)
    shapes = [layer.weight_shape for layer in layers]
    return erdos_renyi_sparsities(shapes, sparsity, kernel=distribution == "erk")


def _per_layer(layers: dict[str, SparseLayer], targets: Sequence[float]) -> list[Tensor]:
    keeps = []
    for (path, layer), target in zip(layers.items(), targets, strict=True):
        count = round((1.0 - target) * math.prod(layer.shape))
        if count == 0:
            raise ValueError(
                f"{path or 'the layer'}: sparsity {target:.6g} leaves no connection in a layer of "
                f"shape {layer.shape}"
            )
        keeps.append(largest(layer.weights, min(count, layer.weights.numel())))
    return keeps


def _global(layers: Sequence[SparseLayer], sparsity: float) -> list[Tensor]:
    total = sum(math.prod(layer.shape) for layer in layers)
    magnitudes = [layer.weights.detach().abs().float() for layer in layers]
    for magnitude in magnitudes:
        magnitude[magnitude.argmax()] = math.inf
    count = round((1.0 - sparsity) * total)
    if count < len(layers):
        raise ValueError(
            f"sparsity {sparsity} leaves {count} connections in {len(layers)} layers: "
            f"each needs one"
        )
    everything = torch.cat(magnitudes)
    keep = largest(everything, min(count, everything.numel()))
    return list(torch.split(keep, [m.numel() for m in magnitudes]))

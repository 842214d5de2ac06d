"""Pruning step by step, a fraction `k` of the weight at a time, as ActuallySparse does it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sparselayers.layer import SparseLayer
from sparselayers.prune.magnitude import largest, sparse_layers
from sparselayers.prune.remove import remove_connections


def set_k(layer: SparseLayer, k: float) -> None:
    """Let `prune_smallest_values` remove a fraction `k` in [0, 1] of all in × out entries."""
    if not 0.0 <= k <= 1.0:
        raise ValueError(f"k must be in [0, 1], got {k}")
    layer.k = float(k)


def set_global_k(model: nn.Module, k: float) -> None:
    """Call `set_k` on all sparse layers of `model`, at any depth."""
    for layer in sparse_layers(model).values():
        set_k(layer, k)


def prune_smallest_values(layer: SparseLayer, optimizer: Optimizer | None = None) -> int:
    """Remove the ⌊k · in · out⌋ connections of smallest magnitude; return how many.

    `layer.k` is a fraction of all entries of the weight, not of those that are left, so that every
    call removes the same number. The state of `optimizer`, if given, is taken along.

    Raises ValueError where none would be left; the layer is unchanged then.
    """
    count = _count(layer)
    remove_connections(layer, largest(layer.values, layer.values.numel() - count), optimizer)
    return count


def prune_sparse_model(
    model: nn.Module, example_input: Any, optimizer: Optimizer | None = None
) -> int:
    """Call `prune_smallest_values` on the sparse layers that `model(example_input)` uses.

    `example_input` is a tensor, or a tuple of arguments. The model runs once as in evaluation,
    without gradients; gradients are set to None afterwards. Returns how many connections went.

    Raises what the model raises, and ValueError where it uses no sparse layer or a layer would be
    left without connections; the model is unchanged then.
    """
    used = _used(model, example_input if isinstance(example_input, tuple) else (example_input,))
    if not used:
        raise ValueError("the model uses no sparse layer for this input")
    for layer in used:
        _count(layer)
    removed = sum(prune_smallest_values(layer, optimizer) for layer in used)
    model.zero_grad(set_to_none=True)
    return removed


def _count(layer: SparseLayer) -> int:
    """The number of connections to remove, fewer than there are."""
    count = math.floor(layer.k * math.prod(layer.shape) + 1e-9)
    if count >= layer.values.numel():
        raise ValueError(
            f"k = {layer.k:.6g} removes {count} connections of a layer of shape {layer.shape} that "
            f"has {layer.values.numel()}: at least one must be left"
        )
    return count


def _used(model: nn.Module, arguments: tuple[Any, ...]) -> list[SparseLayer]:
    """The sparse layers that a forward of `model` reaches, in order; the model stays as it was."""
    used: dict[SparseLayer, None] = {}
    handles = [
        module.register_forward_pre_hook(lambda layer, _: used.setdefault(layer))
        for module in model.modules()
        if isinstance(module, SparseLayer)
    ]
    training = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()(*arguments)
    finally:
        for handle in handles:
            handle.remove()
        for module, flag in training.items():
            module.training = flag
    return list(used)

"""Zeros by magnitude, in the weights of every kind of layer that can be sparse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn

from sparsebench.errors import InputError
from sparselayers.convert import ties
from sparselayers.convert.swap import kinds
from sparselayers.fraction import check_sparsity
from sparselayers.prune import Distribution
from sparselayers.topologies import erdos_renyi_sparsities

_ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


@dataclass(frozen=True)
class Weight:
    """A parameter that can have zeros, and where it is."""

    path: str
    module: nn.Module
    name: str
    parameter: nn.Parameter


def prunable(model: nn.Module) -> list[Weight]:
    """Return the weights of linear layers, convolutions and attention, each once.

    Those that a layer shares with one of another kind, such as an embedding, are left out.
    """
    foreign = {
        parameter
        for module in ties.outside(model, (*kinds(), nn.MultiheadAttention))
        for parameter in module.parameters(recurse=False)
    }
    found: dict[nn.Parameter, Weight] = {}
    for path, module in model.named_modules():
        attention = isinstance(module, nn.MultiheadAttention)
        names = _ATTENTION if attention else ("weight",) if isinstance(module, kinds()) else ()
        for name in names:
            parameter = module._parameters.get(name)
            if parameter is not None and parameter not in foreign:
                found.setdefault(parameter, Weight(path, module, name, parameter))
    return list(found.values())


def prune(model: nn.Module, sparsity: float, distribution: str = "uniform") -> None:
    """Set the weights of smallest magnitude to zero, in place, until `sparsity` is reached.

    `distribution` spreads it as in `sparselayers.prune.prune_to_sparsity`: uniform, global (one
    threshold, and the best weight of each layer stays), er or erk. Weights that are all zero,
    as some models begin with, are drawn first.

    Raises InputError for a sparsity outside [0, 1), an unknown distribution, and a model without
    such weights.
    """
    try:
        check_sparsity(sparsity)
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from None
    if distribution not in get_args(Distribution):
        allowed = ", ".join(get_args(Distribution))
        raise InputError(f"distribution must be one of {allowed}, got {distribution!r}")
    weights = [weight.parameter for weight in prunable(model)]
    if not weights:
        raise InputError(f"{type(model).__name__} has no layer whose weights could be zero")
    with torch.no_grad():
        for weight in weights:
            if not weight.any():
                weight.normal_(std=0.02)
        if distribution == "global":
            _globally(weights, sparsity)
            return
        targets = [sparsity] * len(weights)
        if distribution != "uniform":
            shapes = [weight.shape for weight in weights]
            targets = erdos_renyi_sparsities(shapes, sparsity, kernel=distribution == "erk")
        for weight, target in zip(weights, targets, strict=True):
            _keep(weight, max(1, round((1.0 - target) * weight.numel())))


def masks(model: nn.Module) -> list[tuple[Weight, Tensor]]:
    """Return which weights are not zero, of those that can be."""
    return [(weight, weight.parameter.detach() != 0) for weight in prunable(model)]


def _globally(weights: list[nn.Parameter], sparsity: float) -> None:
    sizes = torch.cat([weight.abs().flatten().float() for weight in weights])
    first = 0
    for weight in weights:  # the best one of each stays
        own = sizes[first : first + weight.numel()]
        own[own.argmax()] = torch.inf
        first += weight.numel()
    count = max(len(weights), round((1.0 - sparsity) * sizes.numel()))
    keep = torch.zeros_like(sizes, dtype=torch.bool)
    keep[sizes.topk(count).indices] = True
    for weight, own in zip(weights, torch.split(keep, [w.numel() for w in weights]), strict=True):
        weight.mul_(own.view(weight.shape))


def _keep(weight: nn.Parameter, count: int) -> None:
    keep = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
    keep[weight.abs().flatten().topk(count).indices] = True
    weight.mul_(keep.view(weight.shape))

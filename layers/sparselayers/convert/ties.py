"""Weights that several modules share: an embedding and the layer that predicts with it."""

from __future__ import annotations

from collections import defaultdict

from torch import nn


def tied(model: nn.Module) -> dict[nn.Module, list[tuple[str, nn.Module]]]:
    """Return for each module whose `weight` is others' too, those others and their paths."""
    owners = defaultdict[nn.Parameter, list[tuple[str, nn.Module]]](list)
    for path, module in model.named_modules():
        for parameter in {
            p for n, p in module._parameters.items() if p is not None and n != "bias"
        }:
            owners[parameter].append((path, module))
    found: dict[nn.Module, list[tuple[str, nn.Module]]] = {}
    for several in owners.values():
        for _, module in several:
            others = [(path, other) for path, other in several if other is not module]
            if others:
                found.setdefault(module, []).extend(others)
    return found


def outside(
    model: nn.Module, kinds: type[nn.Module] | tuple[type[nn.Module], ...]
) -> dict[nn.Module, str]:
    """Return which modules of `kinds` share a weight with modules of other kinds, and with which.

    One of them alone made sparse would be trained apart from the other.
    """
    found: dict[nn.Module, str] = {}
    for module, others in tied(model).items():
        if isinstance(module, kinds):
            paths = [path for path, other in others if not isinstance(other, kinds)]
            if paths:
                found[module] = sharing(paths)
    return found


def sharing(paths: list[str]) -> str:
    """Say with whom a weight is shared."""
    return f"shares its weight with {' and '.join(paths)}, and stays tied to it"

"""parameter_groups: which parameters an optimizer lets decay."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from sparselayers.layer import SparseLayer


def parameter_groups(
    model: nn.Module,
    *,
    weight_decay: float = 0.01,
    skip: Iterable[str] | Callable[[str, nn.Parameter], bool] = (),
    **options: Any,
) -> list[dict[str, Any]]:
    """Return two groups for an optimizer: what decays, and what does not.

    As timm and nanoGPT divide them: tensors of two or more dimensions decay; biases, norms and
    other vectors do not. The weights of sparse layers are vectors, (nnz,), and decay: those of the
    same connections and of the dense layer that they come from do. `skip` names parameters that
    shall not decay, as `named_parameters` has them, or is a function of name and parameter.
    `options` are those of both groups, such as `lr`. Frozen parameters are in no group, and a
    group without parameters is left out.

    Raises ValueError for a negative `weight_decay`, a name of no parameter, and a model that has
    no parameter to train; TypeError for options that are the groups' own.
    """
    if weight_decay < 0:
        raise ValueError(f"weight_decay must not be negative, got {weight_decay}")
    if "params" in options:
        raise TypeError("params are chosen here: pass other options of the optimizer only")
    named = dict(model.named_parameters())
    names = set() if callable(skip) else {skip} if isinstance(skip, str) else set(skip)
    if unknown := names - dict(model.named_parameters(remove_duplicate=False)).keys():
        raise ValueError(f"the model has no parameter {min(unknown)!r} to skip")
    sparse = {
        id(parameter)
        for layer in model.modules()
        if isinstance(layer, SparseLayer)
        for parameter in _weights(layer)
    }
    left_out = {id(model.get_parameter(name)) for name in names}
    decaying: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in named.items():
        if parameter.requires_grad:
            asked = skip(name, parameter) if callable(skip) else id(parameter) in left_out
            decays = not asked and (parameter.ndim >= 2 or id(parameter) in sparse)
            (decaying if decays else others).append(parameter)
    if not decaying and not others:
        raise ValueError("the model has no parameter that requires a gradient")
    groups: list[dict[str, Any]] = [
        {"params": decaying, "weight_decay": weight_decay, **options},
        {"params": others, "weight_decay": 0.0, **options},
    ]
    return [group for group in groups if group["params"]]


def _weights(layer: SparseLayer) -> Iterable[nn.Parameter]:
    """The parameters with a number for each connection; more than one where it is parametrized."""
    nnz = layer.connectivity.nnz
    return (p for p in layer.parameters() if p is not layer.bias and p.shape == (nnz,))

"""convert_model: all layers of a kind in a model, at any depth."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from sparselayers.convert.layer import Target, convert
from sparselayers.dense import HOOKS

Model = TypeVar("Model", bound=nn.Module)


def convert_model(
    model: nn.Module,
    layer_type: type[nn.Module] | tuple[type[nn.Module], ...],
    target: Target,
    *,
    masks: Mapping[str, Tensor] | None = None,
    keep_zeros: bool = False,
) -> nn.Module:
    """Return a copy of `model` in which all modules of `layer_type` are converted to `target`.

    `target` and `keep_zeros` are those of `convert`; `masks` gives the masks of layers by their
    path, as `named_modules` has it. A module that is used in several places is converted once and
    stays shared. The projections inside nn.MultiheadAttention, which reads their weights itself,
    stay as they are. A weight that several layers share becomes one of each, with a warning.

    Raises ValueError or TypeError as `convert` does, naming the module's path, for a mask of no
    layer, and where nothing is of `layer_type`; `model` is unchanged always.
    """
    masks = dict(masks or {})
    new: dict[nn.Module, nn.Module] = {}
    private = private_modules(model)
    for path, module in model.named_modules():
        if isinstance(module, layer_type) and module not in private:
            try:
                new[module] = convert(
                    module, target, mask=masks.pop(path, None), keep_zeros=keep_zeros
                )
            except (TypeError, ValueError) as error:
                raise type(error)(f"{path or 'the model itself'}: {error}") from error
    if masks:
        raise ValueError(f"no layer that is converted is called {next(iter(masks))!r}")
    if not new:
        raise ValueError(f"the model has no layer of type {_names(layer_type)}")
    return replace_modules(model, new)


def replace_modules(model: Model, new: Mapping[nn.Module, nn.Module]) -> Model:
    """Return a deep copy of `model` in which `new[module]` stands wherever `module` did.

    Only what is not replaced is copied. What computes a weight anew before each forward, as
    torch.nn.utils.prune does, may have left a tensor with a history, which is copied without it.
    """
    _warn_of_shared_parameters(model, new)
    memo: dict[int, Any] = {id(old): replacement for old, replacement in new.items()}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    result = copy.deepcopy(model, memo)
    for replacement in new.values():
        for name in HOOKS:  # methods of the model become those of its copy
            setattr(replacement, name, copy.deepcopy(getattr(replacement, name), memo))
    return result


def private_modules(model: nn.Module) -> set[nn.Module]:
    """The modules whose parents do not call them, but read their parameters."""
    return {
        child
        for module in model.modules()
        if isinstance(module, nn.MultiheadAttention)
        for child in module.modules()
        if child is not module
    }


def _warn_of_shared_parameters(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> None:
    owners: dict[nn.Parameter, list[tuple[str, nn.Module]]] = {}
    for path, module in model.named_modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners.setdefault(parameter, []).append((path, module))
    for several in owners.values():
        if len(several) > 1 and any(module in new for _, module in several):
            warnings.warn(
                f"{' and '.join(path for path, _ in several)} share a parameter, "
                "which becomes one of each",
                stacklevel=4,
            )


def _names(layer_type: type[nn.Module] | tuple[type[nn.Module], ...]) -> str:
    types = layer_type if isinstance(layer_type, tuple) else (layer_type,)
    return " or ".join(kind.__name__ for kind in types)

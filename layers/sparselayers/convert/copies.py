"""Models that are copied, or changed, with other modules in the places of some of theirs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sparselayers.dense import HOOKS, extras

Model = TypeVar("Model", bound=nn.Module)


def replaced(model: Model, new: Mapping[nn.Module, nn.Module], *, inplace: bool) -> Model:
    """Return `model`, or a copy of it, in which `new[module]` stands wherever `module` did.

    Only what is not replaced is copied. Tensors that a forward pass has left somewhere in the
    model are copied without their history.

    Raises ValueError where the model itself is to be replaced in place.
    """
    if inplace:
        if model in new:
            raise ValueError("the model itself is a layer that is replaced: it has no place")
        for module in model.modules():
            _substitute(vars(module), new)
        return model
    memo: dict[int, Any] = {id(old): replacement for old, replacement in new.items()}
    memo |= {id(replacement): replacement for replacement in new.values()}
    result = deep_copy(model, memo)
    for replacement in new.values():  # methods of the model become those of its copy
        for name in (*HOOKS, *extras(replacement)):
            vars(replacement)[name] = deep_copy(vars(replacement)[name], memo)
    return result


def scratch(
    model: nn.Module, instead: Mapping[nn.Module, nn.Module]
) -> tuple[nn.Module, dict[int, Any]]:
    """Return a copy of `model` with the parameters of the model itself, and what became of what.

    Where `instead` has another module for one, a copy of that stands. Whatever it does to its
    buffers and attributes, the model is as it was.
    """
    modules = (model, *instead.values())
    memo: dict[int, Any] = {id(p): p for module in modules for p in module.parameters()}
    memo |= {id(old): deep_copy(new, memo) for old, new in instead.items()}
    return deep_copy(model, memo), memo


T = TypeVar("T")


def deep_copy(value: T, memo: dict[int, Any]) -> T:
    """Return copy.deepcopy of `value`, of tensors with a history too: of those without it."""
    with _WithoutHistory():
        return copy.deepcopy(value, memo)


class _WithoutHistory(TorchFunctionMode):
    """Lets tensors be deep-copied that autograd has made."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            return memo.setdefault(id(tensor), tensor.detach().clone())
        return func(*args, **(kwargs or {}))


def _substitute(values: Any, new: Mapping[nn.Module, nn.Module]) -> None:
    """Replace modules in a dictionary or list, and in those, and tuples, that are in it."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in list(items):
        if isinstance(value, nn.Module):
            if value in new:
                values[key] = new[value]
        elif type(value) is tuple:
            inside = list(value)
            _substitute(inside, new)
            if any(a is not b for a, b in zip(inside, value, strict=True)):
                values[key] = tuple(inside)
        elif isinstance(value, (dict, list)):
            _substitute(value, new)

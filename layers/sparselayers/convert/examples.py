"""What each layer of a model gets when the model is called with an example."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sparselayers.convert.copies import scratch


def inputs(
    model: nn.Module,
    example: Any,
    layers: Iterable[nn.Module],
    instead: Mapping[nn.Module, nn.Module],
) -> tuple[dict[nn.Module, Tensor], set[nn.Module]]:
    """Return a random input like the one that each layer gets, and whose weights others read.

    The model runs once, as in evaluation; a copy does of all but its parameters, in which others
    stand for the modules that `instead` has.

    Raises what the model raises.
    """
    found: dict[nn.Module, Tensor] = {}
    layers = [*layers]
    running, copies = scratch(model, instead)
    originals = {copies[id(layer)]: layer for layer in layers}
    watch = _Readers(layers)

    def remember(copied: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        layer = originals[copied]
        x = given[0] if given else named.get("input")
        if layer not in found and isinstance(x, Tensor):
            found[layer] = torch.randn_like(x).requires_grad_(x.requires_grad)
        watch.inside.append(layer)

    def leave(*_: Any) -> None:
        watch.inside.pop()

    for copied in originals:
        copied.register_forward_pre_hook(remember, with_kwargs=True)
        copied.register_forward_hook(leave)
    state = torch.get_rng_state()
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        # Fused inference reads the weights of layers that are called otherwise.
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.enable_grad(), watch:
            call(running.eval(), example)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        torch.set_rng_state(state)
    return found, watch.read


def call(model: nn.Module, example: Any) -> Any:
    """Return what the model makes of an example.

    A tuple holds the arguments; a mapping holds keyword arguments, where the model has those;
    anything else is the one argument.
    """
    if isinstance(example, tuple) and _takes(model, *example):
        return model(*example)
    if isinstance(example, Mapping) and _takes(model, **example):
        return model(**example)
    if isinstance(example, tuple) and not hasattr(example, "_fields"):
        return model(*example)  # which says what it misses
    return model(example)


def _takes(model: nn.Module, *arguments: Any, **named: Any) -> bool:
    try:
        inspect.signature(model.forward).bind(*arguments, **named)
    except TypeError:
        return False
    return True


class _Readers(TorchFunctionMode):
    """Notices who computes with a layer's weight while the layer does not run."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.owners = {
            id(parameter): layer
            for layer in layers
            for parameter in layer.parameters(recurse=False)
            if parameter is not getattr(layer, "bias", None)
        }
        self.inside: list[nn.Module] = []
        self.read: set[nn.Module] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") != "__get__":  # such as weight.dtype
            for value in (*args, *kwargs.values()):
                owner = self.owners.get(id(value))
                if owner is not None and owner not in self.inside:
                    self.read.add(owner)
        return func(*args, **kwargs)

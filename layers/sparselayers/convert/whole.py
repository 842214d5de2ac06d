"""A whole model with other modules in some places, timed beside the model as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from sparselayers import dense
from sparselayers.convert.copies import scratch
from sparselayers.convert.examples import call
from sparselayers.convert.measure import Times, compare


def compare_models(
    model: nn.Module,
    instead: Mapping[nn.Module, nn.Module],
    example: Any,
    *,
    training: bool,
    device: torch.device,
    seconds: float,
) -> Times | None:
    """Time a step of `model` and of one in which `instead[module]` stands for a module, in turn.

    Both run as in evaluation, and as copies of all but their parameters; where `training`, with the
    gradients of all parameters. Hooks are not called, but those of torch.nn.utils, which make
    weights; None where the model does not run without its own.
    """
    steps = [_step(_copied(model, modules), example, training) for modules in ({}, instead)]
    try:
        steps[0]()
    except Exception:  # of a model whose hooks convert what it gets, or whatever else they do
        return None
    return compare(steps[0], steps[1], device=device, seconds=seconds)


def _copied(model: nn.Module, instead: Mapping[nn.Module, nn.Module]) -> nn.Module:
    copied = scratch(model, instead)[0].eval()
    for module in copied.modules():
        dense.forget_hooks(module)
    return copied


def _step(model: nn.Module, example: Any, training: bool) -> Callable[[], None]:
    parameters = [p for p in model.parameters() if p.requires_grad]

    def step() -> None:
        with torch.set_grad_enabled(training):
            outputs = [y for y in tree_leaves(call(model, example)) if isinstance(y, Tensor)]
        losses = [y.float().mean() for y in outputs if y.requires_grad]
        if losses and parameters:
            torch.autograd.grad(losses, parameters, allow_unused=True)

    return step

"""One pruned model in the forms that are measured side by side."""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves

from sparsebench.implementations.sparseprop import SparseProp
from sparsebench.models import pruning
from sparselayers.convert.examples import call

Phase = Literal["inference", "training"]
Step = Callable[[], None]


class NotMeasured(Exception):  # noqa: N818 — an answer, and no error of ours
    """A form does not exist for this model, or here; the message says why."""


class _Mask(nn.Module):
    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def masked(dense: nn.Module) -> nn.Module:
    """Return a copy whose weights are multiplied by masks of their zeros wherever they are used.

    As pruned models are trained; by parametrizations, for the hooks of torch.nn.utils.prune do not
    reach weights that a parent reads itself, as attention and torchvision's Swin do.
    """
    model = copy.deepcopy(dense)
    for weight, mask in pruning.masks(model):
        factors = _Mask(mask.to(weight.parameter.dtype))
        parametrize.register_parametrization(weight.module, weight.name, factors)
    return model


def why_no_sparseprop(example: Any) -> str:
    """Return why SparseProp cannot be asked here for a model of such an input; "" if it can."""
    if find_spec("sparseprop") is None:
        return f"not installed: {SparseProp.install}"
    if not isinstance(example, Tensor) or example.device.type != "cpu":
        return "its swapping knows models of one tensor on the CPU"
    return ""


def sparseprop(dense: nn.Module, example: Any) -> nn.Module:
    """Return a copy in which SparseProp has swapped the Linear and Conv2d that it finds faster.

    Raises NotMeasured where SparseProp is not installed or cannot be asked, and where what it made
    fails on the example.
    """
    if reason := why_no_sparseprop(example):
        raise NotMeasured(reason)
    # Only where it is asked for: it is extra, and compiled.
    from sparseprop.utils import swap_modules_with_sparse

    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model: nn.Module = swap_modules_with_sparse(dense, tuple(example.shape))
            with torch.no_grad():
                call(model, example)
    except Exception as error:  # whatever its code raises for a layer that it does not expect
        raise NotMeasured(f"fails: {type(error).__name__}: {error}") from error
    return model


def step(model: nn.Module, example: Any, phase: Phase) -> Step:
    """Return one step of `model`, in the mode that the phase has.

    Inference without gradients; or zero_grad, forward, backward of the mean of all outputs, and
    SGD with momentum at a rate of zero: the work of a training step, and the same numbers after it.
    """
    if phase == "inference":
        model.eval()

        def inference() -> None:
            with torch.no_grad():
                call(model, example)

        return inference
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)

    def training() -> None:
        optimizer.zero_grad()
        outputs = [y for y in tensors(call(model, example)) if y.requires_grad]
        torch.autograd.backward([y.float().mean() for y in outputs])
        optimizer.step()

    return training


def tensors(output: Any) -> list[Tensor]:
    """Return the real tensors in what a model returned."""
    return [y for y in tree_leaves(output) if isinstance(y, Tensor) and y.is_floating_point()]


def deviation(model: nn.Module, dense: nn.Module, example: Any) -> float:
    """Return how far the outputs in evaluation are apart, relative to the largest of the dense."""
    with torch.no_grad():
        state = torch.get_rng_state()
        expected = tensors(call(dense.eval(), example))
        torch.set_rng_state(state)
        found = tensors(call(model.eval(), example))
    worst = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        scale = float(theirs.abs().max()) or 1.0
        worst = max(worst, float((ours - theirs).abs().max()) / scale)
    return worst

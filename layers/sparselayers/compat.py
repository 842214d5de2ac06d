"""The names and arguments of published packages: sparselinear and ActuallySparse.

Code written for them runs here. What is new has the field's names, and lives elsewhere.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
from torch import nn
from torch.optim import Optimizer

from sparselayers.activation import KWinners
from sparselayers.change import check_changeable
from sparselayers.layer import SparseLayer
from sparselayers.prune.magnitude import sparse_layers
from sparselayers.prune.remove import remove_connections
from sparselayers.prune.scores import magnitude
from sparselayers.structures.selection import largest

P = ParamSpec("P")

_K = 0.05  # of the weight, a step: ActuallySparse's default


class PublishedMethods(SparseLayer):
    """The methods of ActuallySparse's layers: pruning a fraction `k` of the weight at a time."""

    k: float = _K

    def set_k(self, k: float) -> None:
        """Let `prune_smallest_values` remove a fraction `k` in [0, 1] of all in × out entries."""
        set_k(self, k)

    def prune_smallest_values(self) -> int:
        """Remove the ⌊k · in · out⌋ connections of smallest magnitude; return how many."""
        return prune_smallest_values(self)


class PublishedSchedule(PublishedMethods):
    """The names of sparselinear's layers for the schedule of their rewiring."""

    update_every: int
    stop_after: int
    fraction: float

    @property
    def deltaT(self) -> int:  # noqa: N802
        """The steps between rewirings: `update_every`."""
        return self.update_every

    @property
    def Tend(self) -> int:  # noqa: N802
        """The step before which the last rewiring is: `stop_after`."""
        return self.stop_after

    @property
    def alpha(self) -> float:
        """The share that is replaced at first: `fraction`."""
        return self.fraction


def accepting(**published: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Let a constructor take keyword arguments under published names too: `old="new"`.

    Raises TypeError where one is given under both.
    """

    def decorate(init: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(init)
        def renaming(*args: P.args, **kwargs: P.kwargs) -> None:
            for old in published.keys() & kwargs.keys():
                new = published[old]
                if new in kwargs:
                    raise TypeError(f"{old} and {new} are one argument: give one of them")
                kwargs[new] = kwargs.pop(old)
            init(*args, **kwargs)

        return renaming

    return decorate


def set_k(layer: SparseLayer, k: float) -> None:
    """Let `prune_smallest_values` remove a fraction `k` in [0, 1] of all in × out entries."""
    if not 0.0 <= k <= 1.0:
        raise ValueError(f"k must be in [0, 1], got {k}")
    layer.k = float(k)  # type: ignore[assignment]


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
    remove_connections(layer, largest(magnitude(layer), layer.weights.numel() - count), optimizer)
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
    layers = {path: layer for path, layer in sparse_layers(model).items() if layer in used}
    check_changeable(layers, layers, optimizer)
    removed = sum(prune_smallest_values(layer, optimizer) for layer in used)
    model.zero_grad(set_to_none=True)
    return removed


def _count(layer: SparseLayer) -> int:
    """The number of connections to remove, fewer than there are."""
    k = getattr(layer, "k", _K)
    count = math.floor(k * math.prod(layer.shape) + 1e-9)
    if count >= layer.weights.numel():
        raise ValueError(
            f"k = {k:.6g} removes {count} connections of a layer of shape {layer.shape} that "
            f"has {layer.weights.numel()}: at least one must be left"
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


class ActivationSparsity(KWinners):
    """KWinners under the name and with the arguments of the sparselinear package.

    `alpha` is the duty cycles' momentum, `beta` the boost's strength, `act_sparsity` the fraction
    that is silenced. An alpha above 1, as in that package's own example, is no momentum: 1 is
    used, with a warning.
    """

    def __init__(self, alpha: float = 0.1, beta: float = 1.5, act_sparsity: float = 0.65) -> None:
        if alpha > 1:
            warnings.warn(f"alpha must be in [0, 1], got {alpha}: 1 is used", stacklevel=2)
            alpha = 1.0
        super().__init__(act_sparsity, alpha, beta)

    @property
    def alpha(self) -> float:
        """The momentum of the duty cycles."""
        return self.duty_cycle_momentum

    @property
    def beta(self) -> float:
        """The strength of the boost."""
        return self.boost_strength

    @property
    def act_sparsity(self) -> float:
        """The fraction of the units that is silenced."""
        return self.sparsity

    def extra_repr(self) -> str:
        """Say what `print(layer)` shows."""
        return f"alpha={self.alpha}, beta={self.beta}, act_sparsity={self.act_sparsity}"

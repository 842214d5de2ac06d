"""What a call asks before it launches, asked once and kept with the connections.

Which way computes each product, whether what comes lies as that way reads it, and what is launched
follows from the number of samples, their type and their strides. So for those it is looked up once:
what is left of a call is to allocate what it returns, and to launch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from sparselayers import accelerator
from sparselayers.backends.base import Backend, Gradients
from sparselayers.backends.triton_kernels import ways
from sparselayers.backends.triton_kernels.choice import Product
from sparselayers.backends.triton_kernels.precision import precision_of
from sparselayers.connectivity import Connectivity

if TYPE_CHECKING:
    from sparselayers.backends.triton import Triton
    from sparselayers.backends.triton_kernels.plans import Plan

K = TypeVar("K")
V = TypeVar("V")
_Strides = tuple[int, ...]
_Needs = tuple[bool, bool, bool]

_gradients = partial(tuple.__new__, Gradients)  # what Gradients does, without a call in Python
_MOST = 16  # of each kind that are kept: callers lay out what they give in one or two ways


class Prepared(Backend):
    """The products of so many samples, of one type, with the connections it is always given.

    `behind` computes whatever was not asked before, and says what was settled by that. Nothing is
    kept of choices that may be others the next time. `precision` is that of products in float32,
    None where all are alike.
    """

    def __init__(self, behind: Triton, connectivity: Connectivity, precision: str | None) -> None:
        self.name = behind.name  # type: ignore[misc]
        self._behind, self._precision = behind, precision
        self._gpu = accelerator.of(connectivity.device)
        self._alone = self._gpu.is_alone()
        # By the strides of x, and by whether there is no bias.
        self._arranged: dict[_Strides, _Strides] = {}
        self._forward: dict[tuple[_Strides, bool], Callable[..., Tensor]] = {}
        # By those of dy and x, and by which gradients are needed.
        self._backward: dict[tuple[_Strides, _Strides | None, _Needs], _Step] = {}

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Serve what the backend does."""
        return self._behind.supports(device, dtype)

    def arrange(self, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return `x` as the way of the forward pass reads it fastest."""
        own = x.stride()
        strides = self._arranged.get(own)
        if strides is None:
            arranged = self._behind.arrange(x, connectivity)
            if self._settled("y", x, connectivity) is not None:
                _keep(self._arranged, own, arranged.stride())
            return arranged
        return x if strides == own else ways.copied(x, strides)

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias."""
        key = x.stride(), bias is None
        product = self._forward.get(key)
        if product is not None and (self._alone or self._gpu.is_current()):
            return product(x, values, bias)
        y = self._behind.forward(x, values, bias, connectivity)
        if product is None:
            product = self._product(x, values, bias, connectivity)
            if product is not None:
                _keep(self._forward, key, product)
        return y

    def backward(
        self,
        dy: Tensor,
        x: Tensor | None,
        values: Tensor,
        connectivity: Connectivity,
        *,
        needs: tuple[bool, bool, bool],
    ) -> Gradients:
        """Return the gradients asked for."""
        key = dy.stride(), None if x is None else x.stride(), needs
        step = self._backward.get(key)
        if step is not None and (self._alone or self._gpu.is_current()):
            return step(dy, x, values)
        found = self._behind.backward(dy, x, values, connectivity, needs=needs)
        if step is None:
            step = self._step(dy, x, values, connectivity, needs)
            if step is not None:
                _keep(self._backward, key, step)
        return found

    def grad_input(self, dy: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return dx = dy W."""
        return self._behind.grad_input(dy, values, connectivity)

    def grad_values(self, dy: Tensor, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return the gradient of the values."""
        return self._behind.grad_values(dy, x, connectivity)

    def _settled(self, product: Product, x: Tensor, connectivity: Connectivity) -> str | None:
        """Return the way of a product, None where another time or precision may have another."""
        if self._precision not in (None, precision_of(x.dtype)):  # of another forward pass
            return None
        return self._behind.settled(product, x, connectivity)

    def _product(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Callable[..., Tensor] | None:
        """Return what computes y of x with these strides; None where that is not settled."""
        way = self._settled("y", x, connectivity)
        if way is None:
            return None
        arranged = ways.arranged(way, x, connectivity)
        plan: Plan | None = ways.y_of(way, arranged, values, bias, connectivity).plan()
        if plan is None or arranged is x:
            return plan
        return _Arranging(plan, arranged.stride())

    def _step(
        self,
        dy: Tensor,
        x: Tensor | None,
        values: Tensor,
        connectivity: Connectivity,
        needs: _Needs,
    ) -> _Step | None:
        """Return what computes these gradients of such tensors; None where that is not settled."""
        needs_input, needs_values, needs_bias = needs
        if x is None or not needs_values:
            if needs_bias or not needs_input:
                return None
            x = None
        step = _Step()
        if needs_input:
            way = self._settled("dx", dy, connectivity)
            if way is None:
                return None
            step.first, dy = _laid(way, dy, connectivity)
            step.dx = ways.dx_of(way, dy, values, connectivity).plan()
        if x is not None:
            way = self._settled("dweights", dy, connectivity)
            if way is None:
                return None
            step.second, dy = _laid(way, dy, connectivity)
            step.of_x, x = _laid(way, x, connectivity)
            product = ways.dweights_of(way, dy, x, connectivity, bias=needs_bias)
            step.own = product.plan()
        made = (step.dx is not None) == needs_input and (step.own is not None) == (x is not None)
        return step if made else None


class _Arranging:
    """A product of what is copied first."""

    __slots__ = ("_plan", "_strides")

    def __init__(self, plan: Plan, strides: _Strides) -> None:
        self._plan, self._strides = plan, strides

    def __call__(self, x: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        y: Tensor = self._plan(ways.copied(x, self._strides), values, bias)
        return y


class _Step:
    """The gradients of one call: copies where there are strides for them, and what is launched.

    dy is copied `first` for dx, and perhaps a `second` time for the gradients of the layer's own.
    """

    __slots__ = ("dx", "first", "of_x", "own", "second")

    def __init__(self) -> None:
        self.first: _Strides | None = None
        self.second: _Strides | None = None
        self.of_x: _Strides | None = None
        self.dx: Plan | None = None
        self.own: Plan | None = None

    def __call__(self, dy: Tensor, x: Tensor | None, values: Tensor) -> Gradients:
        if self.first is not None:
            dy = ways.copied(dy, self.first)
        dx = None if self.dx is None else self.dx(dy, values)
        if self.own is None or x is None:
            return Gradients(dx, None, None)
        if self.second is not None:
            dy = ways.copied(dy, self.second)
        if self.of_x is not None:
            x = ways.copied(x, self.of_x)
        return _gradients((dx, *self.own(dy, x)))


def _laid(way: str, x: Tensor, connectivity: Connectivity) -> tuple[_Strides | None, Tensor]:
    """Return `x` as a way reads it, and with which strides if that is a copy."""
    arranged = ways.arranged(way, x, connectivity)
    return (None if arranged is x else arranged.stride()), arranged


def _keep(kept: dict[K, V], key: K, value: V) -> None:
    """Keep one more, and forget all where they are many."""
    if len(kept) >= _MOST:
        kept.clear()
    kept[key] = value

"""What a layer's gradient was summed up from: what its dense gradient is made of.

Two hooks tell. What flows through the layer is noted on its way: each call of `forward` leaves a
copy of its input, and each backward pass that comes by leaves the gradient of the output. Whether
it counts is told by the parameter, when such a pass adds to its `.grad`. So nothing counts of
passes that end elsewhere (saliency, adversarial examples, the inner derivative of a gradient
penalty), and nothing of what was thrown away since, by `zero_grad` or with a batch of NaNs.
"""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from sparselayers import ranks
from sparselayers.accumulation import wide_type
from sparselayers.connectivity import Connectivity
from sparselayers.dynamic.eager import run_eagerly
from sparselayers.layer import SparseLayer

Pair = tuple[Tensor, Tensor]  # an input, and the gradient of the output it led to


@dataclass(frozen=True, eq=False)
class Step:
    """What a layer's gradient was when the optimizer made a step, and what it was made of."""

    pairs: list[Pair]
    gradient: Tensor | None
    used: bool

    def dense_gradient(self, layer: SparseLayer, rows: slice) -> Tensor:
        """Return those rows of the gradient of the layer's dense weight, (rows, columns)."""
        wide = wide_type(layer.weights.dtype)
        terms = (layer.weight_gradient(x.to(wide), dy.to(wide), rows) for x, dy in self.pairs)
        total = next(terms, None)
        if total is None:
            return layer.weights.new_zeros((rows.stop - rows.start, layer.shape[1]), dtype=wide)
        for term in terms:
            total += term
        return total

    def gradient_at(self, layer: SparseLayer, connectivity: Connectivity) -> Tensor:
        """Return the gradient of the layer's dense weight at `connectivity`, (nnz,)."""
        wide = wide_type(layer.weights.dtype)
        terms = (layer.gradient_at(x.to(wide), dy.to(wide), connectivity) for x, dy in self.pairs)
        total = next(terms, None)
        if total is None:
            return layer.weights.new_zeros(connectivity.nnz, dtype=wide)
        for term in terms:
            total += term
        return total


class Activity:
    """What has been added to the gradient of a layer's weights, and when.

    Watched from the moment this is made until `stop` is called or nobody holds it any more, and
    for that time only; compiled models run eagerly meanwhile, as no hook would run otherwise.
    Without `keeps_pairs` and `keeps_gradient` only whether the layer is used is watched.
    """

    def __init__(
        self, layer: SparseLayer, *, keeps_pairs: bool, keeps_gradient: bool = True
    ) -> None:
        self.group: Any = None
        self.keeps_pairs, self._keeps_gradient = keeps_pairs, keeps_gradient
        self.step: Step | None = None
        self._layer = weakref.ref(layer)
        self._pairs: list[Pair] = []
        self._passing: dict[int, list[Pair]] = {}  # of backward passes that are on their way
        self._additions = self._additions_seen = 0
        self._used = self._in_step = False
        self._left: tuple[bool, int] = (False, -1)  # the gradient that was seen last
        watcher = _Watcher.of(layer)
        watcher.activities.add(self)
        self._trains = layer.weights.requires_grad
        handles = ExitStack()
        if self._trains:  # PyTorch takes no hook of a frozen parameter
            handles.callback(_register_first(layer.weights, _Added(self)).remove)
            handles.enter_context(run_eagerly())
        self.stop = weakref.finalize(
            self, _release, weakref.ref(layer), watcher, weakref.ref(self), handles
        )
        self.stop.atexit = False

    def begin_step(self) -> None:
        """Keep what there is now: the optimizer is about to make a step."""
        layer = self._layer()
        if layer is None or (self._in_step and self._additions == self._additions_seen):
            return  # in a step within a step: an optimizer that calls another's
        gradient = layer.weights.grad
        self._look(gradient)
        used = gradient is not None and (self._used or bool(gradient.any()))
        self.step = Step(
            list(self._pairs),
            None if gradient is None or not self._keeps_gradient else gradient.detach().clone(),
            used and self._trains and layer.weights.requires_grad,
        )
        self._additions_seen, self._in_step = self._additions, True

    def end_step(self) -> None:
        """Let what an optimizer's closure has added during the step count."""
        if self.step is None or self._additions != self._additions_seen:
            self.begin_step()
        self._in_step = False

    def clear(self) -> None:
        """Forget everything."""
        self._pairs.clear()
        self._passing.clear()
        self._used, self.step = False, None

    def passes(self, x: Tensor, dy: Tensor) -> None:
        """Note an input and the gradient of its output; it counts once the pass has arrived."""
        task = torch._C._current_graph_task_id()
        if task not in self._passing:
            layer = self._layer()
            if layer is None:
                return
            self._look(layer.weights.grad)
            self._passing[task] = []
            # A pass that never arrives leaves nothing.
            torch.autograd.Variable._execution_engine.queue_callback(partial(self._ends, task))
        self._passing[task].append((x, dy))

    def arrives(self, gradient: Tensor | None) -> None:
        """Count what the backward pass that is running has brought."""
        self._pairs += self._passing.pop(torch._C._current_graph_task_id(), [])
        self._additions += 1
        self._used = True
        if gradient is not None:
            self._left = not bool(gradient.any()), gradient._version

    def _ends(self, task: int) -> None:
        self._passing.pop(task, None)

    def _look(self, gradient: Tensor | None) -> None:
        """Forget what was thrown away since: there is no gradient any more, or all of it is 0."""
        if not self._used:
            return
        was_zero, version = self._left
        if gradient is None or (
            not bool(gradient.any()) and not (was_zero and gradient._version == version)
        ):
            self._pairs.clear()
            self._used = False


class _Watcher:
    """What a layer hands its in- and outputs to, while there are activities that watch it."""

    def __init__(self) -> None:
        self.activities: weakref.WeakSet[Activity] = weakref.WeakSet()

    @classmethod
    def of(cls, layer: SparseLayer) -> _Watcher:
        """Return that of `layer`."""
        connections = layer._connections
        if connections.watcher is None:
            connections.watcher = cls()
        watcher = connections.watcher
        assert isinstance(watcher, _Watcher)
        return watcher

    def enter(self, x: Tensor) -> Tensor:
        """Return an input of which nobody else takes a gradient."""
        return x.view_as(x) if isinstance(x, Tensor) and _is_recorded(x) else x

    def leave(self, x: Tensor, weights: Tensor, y: Tensor) -> None:
        """Have the gradients noted that come to the output `y` of the input `x`."""
        if not (weights.requires_grad and _is_recorded(y)):
            return
        group = ranks.running().group
        for activity in self.activities:
            activity.group = group
        if any(activity.keeps_pairs for activity in self.activities):
            # A copy, because others may write into the input; of the type it is multiplied in.
            call = _Call(self, x.detach().to(y.dtype, copy=True))
            y.register_hook(call.output)  # type: ignore[no-untyped-call]
            if x.requires_grad:
                x.register_hook(call.input)  # type: ignore[no-untyped-call]

    def passes(self, x: Tensor, dy: Tensor) -> None:
        """Tell all that keep such pairs."""
        for activity in self.activities:
            if activity.keeps_pairs:
                activity.passes(x, dy)


class _Call:
    """One call of a layer: what the backward passes that come by have to do with its weight.

    The gradient of the input, dx = dy W, depends on the weight too: who differentiates a function
    of it, as gradient penalties do, adds to the weight's gradient dyᵀ g, with g that of dx.
    """

    def __init__(self, watcher: _Watcher, x: Tensor) -> None:
        self._watcher, self._x = watcher, x
        self._differentiable: dict[int, Tensor] = {}

    def output(self, dy: Tensor) -> None:
        """Note the gradient of the output."""
        own = dy.detach().clone()
        self._watcher.passes(self._x, own)
        if torch.is_grad_enabled():
            self._differentiable[torch._C._current_graph_task_id()] = own

    def input(self, dx: Tensor) -> None:
        """See to it that a derivative of the gradient of the input is noted."""
        dy = self._differentiable.pop(torch._C._current_graph_task_id(), None)
        if dy is not None and dx.requires_grad:
            watcher = self._watcher
            dx.register_hook(  # type: ignore[no-untyped-call]
                lambda g: watcher.passes(g.detach().clone(), dy)
            )


class _Added:
    """The hook of the parameter. Copies and pickles of it, made with the parameter, are dead."""

    def __init__(self, activity: Activity | None = None) -> None:
        self._activity = None if activity is None else weakref.ref(activity)

    def __reduce__(self) -> tuple[type[_Added], tuple[()]]:
        return _Added, ()

    def __call__(self, weights: Tensor) -> None:
        activity = None if self._activity is None else self._activity()
        if activity is not None:
            activity.arrives(weights.grad)


def _register_first(parameter: Any, hook: _Added) -> RemovableHandle:
    """Have `hook` called before all others: one of them may make the optimizer's step."""
    handle: RemovableHandle = parameter.register_post_accumulate_grad_hook(hook)
    hooks = parameter._post_accumulate_grad_hooks
    others = [(key, each) for key, each in hooks.items() if key != handle.id]
    for key, _ in others:  # PyTorch goes by when they were inserted
        del hooks[key]
    hooks.update(others)
    return handle


def _is_recorded(tensor: Tensor) -> bool:
    """Whether a backward pass may come to `tensor` and go on to the parameters."""
    return (
        torch.is_grad_enabled()
        and tensor.requires_grad
        and not torch._C._are_functorch_transforms_active()
    )


def _release(
    layer: weakref.ref[SparseLayer],
    watcher: _Watcher,
    activity: weakref.ref[Activity],
    handles: ExitStack,
) -> None:
    there, others = layer(), [each for each in watcher.activities if each is not activity()]
    watcher.activities = weakref.WeakSet(others)
    if there is not None and not others and there._connections.watcher is watcher:
        there._connections.watcher = None
    handles.close()

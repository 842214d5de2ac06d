"""What flows through a layer in one step of training: what its dense gradient is made of."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from sparselayers import ranks
from sparselayers.dynamic.eager import run_eagerly
from sparselayers.layer import SparseLayer


class Activity:
    """The inputs of a layer and the gradients of its outputs since the optimizer's last step.

    Recorded from the moment this is made until `stop` is called or nobody holds it any more, and
    for that time only: hooks in place all the time would be traced by compilers and copied by
    `deepcopy`. Compiled models run eagerly meanwhile, as no hook would run otherwise.
    """

    def __init__(self, layer: SparseLayer) -> None:
        self.group: Any = None
        self._records: list[tuple[Tensor, Tensor]] = []
        self._stale = False
        handle = layer.register_forward_hook(_Tap(self), with_kwargs=True)
        self.stop = weakref.finalize(self, _release, handle, run_eagerly())
        self.stop.atexit = False

    def close(self) -> None:
        """Let what comes next replace what is there: the optimizer has made its step."""
        self._stale = True

    def clear(self) -> None:
        """Forget what was recorded."""
        self._records.clear()
        self._stale = False

    def add(self, x: Tensor, dy: Tensor) -> None:
        """Record an input and the gradient of the output it led to."""
        if self._stale:
            self.clear()
        self._records.append((x, dy.detach()))

    def gradient(self, layer: SparseLayer, rows: slice) -> Tensor:
        """Return those rows of the gradient of the layer's dense weight, (rows, columns)."""
        wide = torch.promote_types(layer.weights.dtype, torch.float32)
        terms = (layer.weight_gradient(x.to(wide), dy.to(wide), rows) for x, dy in self._records)
        total = next(terms, None)
        if total is None:
            return layer.weights.new_zeros((rows.stop - rows.start, layer.shape[1]), dtype=wide)
        for term in terms:
            total += term
        return total


class _Tap:
    """The forward hook that records. Copies and pickles of it, made with their layer, are dead."""

    def __init__(self, activity: Activity | None = None) -> None:
        self._activity = None if activity is None else weakref.ref(activity)

    def __reduce__(self) -> tuple[type[_Tap], tuple[()]]:
        return _Tap, ()

    def __call__(
        self, layer: SparseLayer, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
    ) -> None:
        activity = None if self._activity is None else self._activity()
        if activity is None or not output.requires_grad:
            return
        activity.group = ranks.running().group
        x: Tensor = args[0] if args else kwargs["x" if "x" in kwargs else "input"]
        output.register_hook(partial(activity.add, x.detach()))  # type: ignore[no-untyped-call]


def _release(handle: RemovableHandle, stance: Any) -> None:
    handle.remove()
    stance.close()

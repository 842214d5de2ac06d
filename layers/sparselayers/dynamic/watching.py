"""Watch: what the steps of an optimizer were made of, of the layers that a rewirer has."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from torch.optim import Optimizer

from sparselayers.dynamic.activity import Activity, Step
from sparselayers.layer import SparseLayer


class Watch:
    """The layers, and what went through them in the steps that are looked at.

    Layers are held weakly, so that one that rewires itself can hold its rewirer and still be freed
    at once. With a `window` above 1 the steps before the last one are kept too.
    """

    def __init__(
        self,
        layers: Mapping[str, SparseLayer],
        *,
        window: int,
        keeps_pairs: bool,
        keeps_gradient: bool,
    ) -> None:
        self._layers = weakref.WeakValueDictionary(layers)
        self._window = window
        self._keeps = {"keeps_pairs": keeps_pairs, "keeps_gradient": keeps_gradient}
        self._activities: dict[str, Activity] = {}
        self._earlier: dict[str, deque[Step]] = {}  # the latest last
        self._asked = self._taken = False

    @property
    def layers(self) -> dict[str, SparseLayer]:
        """The layers by their names in the model."""
        return dict(self._layers)

    @property
    def steps(self) -> dict[str, Step | None]:
        """What is known of the last step, by layer."""
        return {name: activity.step for name, activity in self._activities.items()}

    @property
    def group(self) -> Any:
        """The processes that train together, if one of the layers saw that there are several."""
        groups = (activity.group for activity in self._activities.values())
        return next((group for group in groups if group is not None), None)

    def earlier(self, name: str) -> tuple[Step, ...]:
        """Return the steps of a layer before the last one, the latest first."""
        return tuple(reversed(self._earlier.get(name, ())))

    def prepare(self) -> None:
        """Take note of the gradients that an optimizer's step is about to be made with."""
        self._asked = True
        for activity in self._activities.values():
            activity.begin_step()

    def observe(self, optimizer: Optimizer) -> bool:
        """Take note that `optimizer` was asked for a step; False where it has been noted already.

        An optimizer whose step calls another's, or its base class's, tells so twice.
        """
        if not self._asked:
            return False
        self._asked = False
        # A fused optimizer skips by itself what GradScaler has found to overflow.
        overflow = getattr(optimizer, "found_inf", None)
        self._taken = overflow is None or not bool(overflow)
        for activity in self._activities.values():
            activity.end_step()
        return True

    def took_a_step(self) -> bool:
        """Return whether the optimizer has made a step since this was asked; if not, forget it."""
        taken, self._taken = self._taken, False
        if not taken:
            self.clear(self._activities)
        return taken

    def look(self, *, wanted: bool) -> None:
        """Record what goes through the layers from now on, or no more."""
        if wanted and self._activities and self._window > 1:
            return
        for activity in self._activities.values():
            activity.stop()
        self._activities, self._earlier = {}, {}
        if wanted:
            self._activities = {
                name: Activity(layer, **self._keeps) for name, layer in self._layers.items()
            }

    def remember(self) -> None:
        """Keep what the last step was made of, where more than one is to be seen."""
        if self._window == 1:
            return
        for name, activity in self._activities.items():
            if activity.step is not None:
                steps = self._earlier.setdefault(name, deque(maxlen=self._window - 1))
                steps.append(activity.step)
            activity.clear()

    def clear(self, names: Iterable[str]) -> None:
        """Forget what is known of the last step of some layers."""
        for name in names:
            self._activities[name].clear()

    def state(self) -> dict[str, Any]:
        """Return the steps that are kept, by layer."""
        return {
            name: [(step.pairs, step.gradient, step.used) for step in steps]
            for name, steps in self._earlier.items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        for name, steps in state.items():
            self._earlier[name] = deque((Step(*each) for each in steps), maxlen=self._window - 1)

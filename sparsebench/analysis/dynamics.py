"""What changing connections adds to a training step, spread over the steps between two changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparsebench.analysis.estimates import Draws
from sparsebench.analysis.grouping import CONDITIONS, group
from sparsebench.analysis.point import Point

EVERY = (10, 100, 1000)  # steps between two rewirings; 100 is RigL's own choice
RIGLS_OWN = 100
PHASES = ("train_step", "rewiring")


@dataclass(frozen=True)
class Training:
    """A layer as one implementation trains it: a step, and one that rewires where it has such."""

    step: Point
    rewiring: Point | None

    @property
    def alone(self) -> Draws | None:
        """The seconds that a rewiring adds to a step; None where there is none."""
        return None if self.rewiring is None else np.asarray(self.rewiring.time - self.step.time)

    def amortised(self, every: int) -> Draws:
        """Return the seconds of a step with its share of a rewiring after every `every` steps."""
        alone = self.alone
        return self.step.time if alone is None else np.asarray(self.step.time + alone / every)

    @property
    def decides(self) -> bool:
        """Whether no time in it was disturbed."""
        return self.step.decides and (self.rewiring is None or self.rewiring.decides)


def trainings(points: Sequence[Point]) -> Iterator[tuple[Training, Training | None]]:
    """Yield each layer's training by an implementation, and the dense one's of the same layer.

    Only of layers that some implementation rewires.
    """
    names = (*CONDITIONS, "batch", "size", "sparsity")
    timed = [p for p in points if p.ok and p.case.phase in PHASES]
    for members in group(timed, *names).values():
        found: dict[str, dict[str, Any]] = {}
        for point in members:
            found.setdefault(point.case.implementation, {})[point.case.phase] = point
        if not any("rewiring" in phases for phases in found.values()):
            continue
        every = {
            name: Training(phases["train_step"], phases.get("rewiring"))
            for name, phases in found.items()
            if "train_step" in phases
        }
        for training in every.values():
            yield training, every.get("dense")

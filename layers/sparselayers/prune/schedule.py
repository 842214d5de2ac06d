"""When a model is pruned, and how far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """Says of every optimization step, counted from 1, how sparse the model is to be after it."""

    def sparsity(self, step: int) -> float | None:
        """Return the sparsity to prune to after `step`, or None where nothing is to be pruned."""


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """From `initial` to `final` sparsity between two steps, every `update_every` steps.

    From step `begin` on to step `stop_after`, where the last change is, whether or not
    `update_every` divides the interval. A subclass says how much `remaining` is of the way.

    Raises ValueError for sparsities outside [0, 1) or a `final` below `initial`, a schedule that
    ends before it begins, and numbers that are not positive.
    """

    final: float
    initial: float = 0.0
    begin: int = 0
    stop_after: int
    update_every: int = 100

    def __post_init__(self) -> None:
        if not 0.0 <= self.initial <= self.final < 1.0:
            raise ValueError(
                "sparsities must be 0 <= initial <= final < 1, "
                f"got initial={self.initial}, final={self.final}"
            )
        if not 0 <= self.begin < self.stop_after:
            raise ValueError(
                "steps must be 0 <= begin < stop_after, "
                f"got begin={self.begin}, stop_after={self.stop_after}"
            )
        self._positive("update_every")

    def remaining(self, part: float) -> float:
        """Return how much of the way from initial to final remains after `part` of the steps."""
        raise NotImplementedError

    def sparsity(self, step: int) -> float | None:
        """Return the sparsity to prune to after `step`, or None where nothing is to be pruned."""
        if not self.begin <= step <= self.stop_after:
            return None
        if (step - self.begin) % self.update_every and step != self.stop_after:
            return None
        part = (step - self.begin) / (self.stop_after - self.begin)
        return self.final + (self.initial - self.final) * self.remaining(part)

    def _positive(self, *names: str) -> None:
        for name in names:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Gradual(Ramp):
    """Fast first, when there is much to remove, and slowly at the end.

    s(t) = final + (initial − final) · (1 − (t − begin) / (stop_after − begin)) ^ power. The default
    power 3 is the published cubic; 1 is linear. The rest is as in `Ramp`.

    Raises ValueError as `Ramp` does, and for a power that is not positive.

    Source: Zhu and Gupta 2017 (arXiv 1710.01878), equation 1.
    """

    power: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._positive("power")

    def remaining(self, part: float) -> float:
        """Return (1 − part) ^ power."""
        return float((1.0 - part) ** self.power)


@dataclass(frozen=True, kw_only=True)
class Sigmoid(Ramp):
    """Slowly first, while nothing is known of the weights, and slowly at the end.

    With σ the logistic function and τ the part of the steps that is done, the part of the way is
    (σ(k (2τ − 1)) − σ(−k)) / (σ(k) − σ(−k)), with k = `steepness`: exactly 0 at the beginning and 1
    at the end. The rest is as in `Ramp`.

    Raises ValueError as `Ramp` does, and for a steepness that is not positive.

    Source: Zhang et al. 2025 (CHTss, arXiv 2501.19107), normalised to reach both ends as the
    authors' code is; they take k = 6.
    """

    steepness: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._positive("steepness")

    def remaining(self, part: float) -> float:
        """Return 1 minus the normalised sigmoid of `part`."""
        low, high = _logistic(-self.steepness), _logistic(self.steepness)
        return 1.0 - (_logistic(self.steepness * (2.0 * part - 1.0)) - low) / (high - low)


@dataclass(frozen=True)
class Stepwise:
    """A sparsity from each of some steps on: {4000: 0.85, 6000: 0.9}.

    MEST's soft memory bound, in which more connections are trained at first.

    Raises ValueError for no step, steps below 1, and sparsities outside [0, 1) or that fall.
    """

    sparsities: Mapping[int, float]

    def __post_init__(self) -> None:
        steps = sorted(self.sparsities)
        if not steps or steps[0] < 1:
            raise ValueError(f"sparsities must be given for steps from 1 on, got {steps}")
        values = [self.sparsities[step] for step in steps]
        if not all(0.0 <= value < 1.0 for value in values) or values != sorted(values):
            raise ValueError(f"sparsities must be in [0, 1) and not fall, got {values}")

    def sparsity(self, step: int) -> float | None:
        """Return the sparsity to prune to after `step`, or None where nothing is to be pruned."""
        return self.sparsities.get(step)


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))

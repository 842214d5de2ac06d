"""When a model is pruned, and how far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """Says of every optimization step, counted from 1, how sparse the model is to be after it."""

    def sparsity(self, step: int) -> float | None:
        """Return the sparsity to prune to after `step`, or None where nothing is to be pruned."""


@dataclass(frozen=True, kw_only=True)
class Gradual:
    """From `initial` to `final` sparsity between two steps, every `update_every` steps.

    From step `begin` on to step `stop_after`,
    s(t) = final + (initial − final) · (1 − (t − begin) / (stop_after − begin)) ^ power: fast first,
    when there is much to remove, and slowly at the end. The default power 3 is the published
    cubic; 1 is linear. The last pruning is at `stop_after`, whether or not `update_every` divides
    the interval.

    Raises ValueError for sparsities outside [0, 1) or a `final` below `initial`, an empty
    interval, and numbers that are not positive.

    Source: Zhu and Gupta 2017 (arXiv 1710.01878), equation 1.
    """

    final: float
    initial: float = 0.0
    begin: int = 0
    stop_after: int
    update_every: int = 100
    power: float = 3.0

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
        for name in ("update_every", "power"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    def sparsity(self, step: int) -> float | None:
        """Return the sparsity to prune to after `step`, or None where nothing is to be pruned."""
        if not self.begin <= step <= self.stop_after:
            return None
        if (step - self.begin) % self.update_every and step != self.stop_after:
            return None
        rest = 1.0 - (step - self.begin) / (self.stop_after - self.begin)
        return self.final + (self.initial - self.final) * float(rest**self.power)

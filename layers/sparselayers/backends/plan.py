"""Which way computes a product, and why: what a backend that has several tells."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Choice:
    """The way of a product, why, and the estimated seconds of each that could have been taken.

    Of a backward pass there are two ways: that of dx and that of the gradient of the weights.
    """

    ways: tuple[str, ...]
    why: str
    seconds: dict[tuple[str, ...], float] = field(default_factory=dict)

    @property
    def way(self) -> str:
        """The way of a single product."""
        return self.ways[0]

    def __str__(self) -> str:
        """Say which way, and what all were estimated to take."""
        estimates = ", ".join(
            f"{_named(ways)} {1e3 * seconds:.3g} ms"
            for ways, seconds in sorted(self.seconds.items(), key=lambda item: item[1])
        )
        return f"{_named(self.ways)}: {self.why}" + (f" ({estimates})" if estimates else "")


@dataclass(frozen=True, slots=True)
class Plan:
    """How a layer computes a batch: the ways of its forward and its backward pass."""

    backend: str
    batch: int
    forward: Choice
    backward: Choice

    def __str__(self) -> str:
        """Say it in three lines."""
        return (
            f"batch {self.batch} on backend {self.backend}\n"
            f"  forward   {self.forward}\n"
            f"  backward  {self.backward}"
        )


def _named(ways: tuple[str, ...]) -> str:
    """Say one way, or two: a backward pass may take one for both gradients."""
    names = list(dict.fromkeys(ways))
    return names[0] if len(names) == 1 else f"{names[0]} (dx) and {names[1]} (weights)"

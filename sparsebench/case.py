"""What one measurement is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Phase = Literal["inference", "forward_backward", "train_step"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One implementation on one problem. Its `key` names it for ever.

    Sizes count features and samples; `threads` is the number of CPU threads the measurement sets;
    `seed` fixes the connections, the weights and the inputs.
    """

    implementation: str
    operation: str = "linear"
    in_features: int
    out_features: int
    sparsity: float
    topology: str = "random"
    batch: int
    device: str = "cpu"
    dtype: str = "float32"
    phase: Phase
    threads: int
    seed: int = 0

    @property
    def key(self) -> str:
        """All fields as `name=value`, in the order of their definition."""
        return " ".join(f"{name}={value}" for name, value in asdict(self).items())

    @property
    def problem(self) -> tuple[Any, ...]:
        """What a ratio's two sides have in common: every field but the implementation."""
        return tuple(getattr(self, f.name) for f in fields(self) if f.name != "implementation")

    @property
    def nnz(self) -> int:
        """The number of connections."""
        return round((1.0 - self.sparsity) * self.in_features * self.out_features)

"""The model that a command was asked for: enough to make it again, in another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparsebench.models import architectures, checkpoints, pruning
from sparsebench.models.architectures import Architecture


@dataclass(frozen=True)
class Asked:
    """A model by name, its input's shape, and where its weights and zeros come from."""

    name: str
    shape: tuple[int, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    checkpoint: Path | None = None
    sparsity: float | None = None
    distribution: str = "uniform"

    def make(self) -> Architecture:
        """Return the model and an input; the same ones every time.

        Raises InputError as `architectures.make`, `checkpoints.restore` and `pruning.prune` do.
        """
        made = architectures.make(self.name, shape=self.shape, config=self.config, seed=self.seed)
        if self.checkpoint is not None:
            checkpoints.restore(made.model, self.checkpoint)
        if self.sparsity is not None:
            pruning.prune(made.model, self.sparsity, self.distribution)
        return made

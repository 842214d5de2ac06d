"""The experiments that no table can say: each is code, in a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from rich.console import Console

from sparsebench.training import same_training, toy
from sparsebench.training.cifar.formats import Formats
from sparsebench.training.curves import Curves


class Coded(Protocol):
    """What `sparsebench train` asks of an experiment that is code."""

    @property
    def question(self) -> str:
        """What it asks."""

    def run(
        self,
        folder: Path,
        console: Console,
        *,
        seed: int,
        device: str,
        threads: int,
        data_dir: Path | None = None,
    ) -> object:
        """Run it, and append its records to `folder`."""


CODED: dict[str, Coded] = {
    "toy": Curves("toy", "does a two-layer net fit random outputs, dense and sparse?", toy.run),
    "same-training": Curves(
        "same-training",
        "is truly sparse training the same training as masked?",
        same_training.run,
    ),
    "cifar-report": Formats(),
}

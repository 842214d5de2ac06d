"""FormatsRecord: what a pruned network takes, in every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from sparsebench.records import store

SCHEMA = 1
FILE_NAME = "formats.jsonl"  # models.jsonl are those of sparsebench.models


class FormatsRecord(BaseModel):
    """A network pruned at once to one sparsity. One line of a file of such.

    `held` are bytes of weights, indices and biases by part and format, `seconds` samples of one
    forward pass over `images` images without gradients. Parts are "features" and "classifier";
    formats "dense", "sparse" (this library's layers) and PyTorch's own "coo" and "csr".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA
    network: str
    sparsity: float
    accuracy: float | None  # of all test images, as a fraction; None: the network is not trained
    test_images: int
    images: int
    held: dict[str, int]
    seconds: dict[str, list[float]]
    origin: str = ""  # the key of the setting that trained the network
    device: str = "cpu"
    threads: int = 1
    started: str = ""  # ISO 8601, UTC
    machine: dict[str, Any] = {}

    @property
    def identity(self) -> tuple[str, str]:
        """What a later record replaces."""
        of = f"{self.network} {self.sparsity} {self.device} {self.threads} {self.origin}"
        return of, str(self.machine.get("id", ""))


class FormatsStore(store.Store[FormatsRecord]):
    """The records of a folder, open for appending."""

    kind = FormatsRecord
    file_name = FILE_NAME


def load(path: Path) -> list[FormatsRecord]:
    """Read a file of such records, or all of them at and below a folder."""
    return FormatsStore.load(path)

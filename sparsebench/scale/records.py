"""ScaleCase and ScaleRecord: a layer of some size, and what each thing done with it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sparsebench.records import Status, store

FILE_NAME = "scale.jsonl"

Stage = Literal["construction", "inference", "training step", "SET", "RigL", "save", "load"]
STAGES: tuple[Stage, ...] = (
    "construction", "inference", "training step", "SET", "RigL", "save", "load",
)  # fmt: skip


class ScaleCase(BaseModel):
    """A square layer, `width` × `width`, with `per_output` random connections for each output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int
    per_output: int
    batch: int = 16
    threads: int = 1
    seed: int = 0

    @property
    def connections(self) -> int:
        """The number of weights."""
        return self.width * self.per_output

    @property
    def key(self) -> str:
        """All fields as `name=value`, in the order of their definition."""
        return " ".join(f"{name}={value}" for name, value in self)


class Cost(BaseModel):
    """What one stage takes: seconds of each call, and bytes.

    `peak` is the highest that memory rose during the first call above the process before the
    layer was built; `held` is what was above it afterwards. `compared` are the seconds that plain
    reading or writing of as many bytes took, for files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: list[float]
    peak: int
    held: int
    compared: float | None = None


class ScaleRecord(BaseModel):
    """One line of a scale file: a case and its costs, or why there are none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    case: ScaleCase
    status: Status = "ok"
    message: str = ""
    costs: dict[Stage, Cost] = {}
    arrays: int = 0  # bytes of the layer's own arrays: values, bias, connections
    memory_method: str = ""
    started: str = ""  # ISO 8601, UTC
    machine: dict[str, Any] = {}

    @property
    def identity(self) -> tuple[str, str]:
        """What a later record replaces: the case and the machine."""
        return self.case.key, str(self.machine.get("id", ""))


class ScaleStore(store.Store[ScaleRecord]):
    """The scale records of a folder, open for appending."""

    kind = ScaleRecord
    file_name = FILE_NAME


def load(path: Path) -> list[ScaleRecord]:
    """Read a scale file, or all of them at and below a folder; the last of a case counts."""
    return ScaleStore.load(path)

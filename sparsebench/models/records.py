"""ModelCase and ModelRecord: a pruned model in a phase, and what each form of it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from sparsebench.models.variants import Phase
from sparsebench.records import Status, store

FILE_NAME = "models.jsonl"

# Forms of a model, in the order of tables. Sparse: what `sparselayers.sparsify` makes.
FORMS = ("dense", "masked", "sparse", "sparseprop")
OTHERS = ("sparseprop",)  # made by other libraries, which may fail where a model does not


class ModelCase(BaseModel):
    """A model by name, the shape of its input, and how it is pruned and used.

    Without a shape the input is as the model's library says; `config` is what differs from a
    configuration's defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    input: tuple[int, ...] = ()
    config: tuple[tuple[str, Any], ...] = ()
    sparsity: float = 0.9
    distribution: str = "uniform"
    phase: Phase = "inference"
    threads: int = 1
    seed: int = 0

    @property
    def key(self) -> str:
        """All fields as `name=value`, in the order of their definition."""
        config = ",".join(f"{name}={value}" for name, value in self.config)
        shown = dict(self) | {"input": ",".join(map(str, self.input)), "config": config}
        return " ".join(f"{name}={value}" for name, value in shown.items())


class Layer(BaseModel):
    """What `sparsify` measured of a layer: seconds of a call, and bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    kind: str
    shape: tuple[int, ...]
    input_shape: tuple[int, ...]
    sparsity: float
    dense_s: float
    sparse_s: float
    low: float  # of the share that the sparse time is of the dense, with 95% confidence
    high: float | None  # None: infinite
    chosen: str
    bytes_saved: int
    reason: str = ""  # why it stays dense
    disturbed: bool = False  # other work had the cores while it was timed


class Form(BaseModel):
    """What one form of a model takes, or why it was not measured.

    `samples` are seconds of a step, one for each round, in which all forms take turns. `held` are
    bytes of parameters, buffers and connections; `disturbed` says what spoiled the samples, ""
    where nothing did; `peak` is how far a step's memory rises above
    what the process held before it; `checkpoint` is the size of its state dict as torch.save
    writes it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: list[float] = []
    disturbed: str = ""
    held: int = 0
    peak: int = 0
    checkpoint: int = 0
    message: str = ""


class ModelRecord(BaseModel):
    """One line of a models file: a case and what was measured, or why nothing was."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    case: ModelCase
    status: Status = "ok"
    message: str = ""
    weights: int = 0  # of the layers that can be sparse
    nonzero: int = 0
    layers: list[Layer] = []
    skipped: dict[str, str] = {}
    forms: dict[str, Form] = {}
    deviation: float = 0.0  # of the sparse outputs, over the largest of the dense ones
    started: str = ""  # ISO 8601, UTC
    machine: dict[str, Any] = {}

    @property
    def identity(self) -> tuple[str, str]:
        """What a later record replaces: the case and the machine."""
        return self.case.key, str(self.machine.get("id", ""))


class ModelStore(store.Store[ModelRecord]):
    """The records of a folder, open for appending."""

    kind = ModelRecord
    file_name = FILE_NAME


def load(path: Path) -> list[ModelRecord]:
    """Read a models file, or all of them at and below a folder; the last of a case counts."""
    return ModelStore.load(path)

"""TrainingRecord: a setting and what came of training it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator

from sparsebench.records import store
from sparsebench.training.settings import Setting, read

SCHEMA = 1
FILE_NAME = "training.jsonl"

Status = Literal["ok", "diverged", "oom", "error", "unsupported"]


# Every line has all columns, whatever the network.
_AsColumns = Annotated[
    Setting,
    PlainValidator(lambda given: given if isinstance(given, Setting) else read(given)),
    PlainSerializer(lambda setting: setting.columns),
]


class Epoch(BaseModel):
    """What one epoch ended with. Accuracies are counted on all test images, as fractions.

    Of networks over text they are of the characters that are tested on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    loss: float  # the mean of the training loss over the epoch's batches
    accuracy: float
    perplexity: float | None = None  # of networks that predict characters: of one of them
    steps: int | None = None  # where its time ends an epoch
    seconds: float | None = None  # of training alone, without the test; None: not measured
    communicated: int = 0  # bytes of gradients that each process gave to be summed over all
    # Of networks that are pruned, and of those that they are compared with:
    sparsity: float | None = None  # of all layers together, during the epoch
    held: int | None = None  # bytes of parameters, masks, indices, gradients, optimizer's state
    losses: list[float] | None = None  # of every step


class Timing(BaseModel):
    """How long training steps take, and how that was found out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int  # how many steps each sample covers
    samples: list[float]  # seconds per `steps` steps, raw, in the order they were taken
    steps_per_epoch: int
    method: str
    # Of a network that gets sparser: the training is in as many parts, and each has its sample.
    by_part: bool = False
    # What rewirings added to their steps, where they are so rare that no sample need have one.
    rewirings: list[float] = []


class Layer(BaseModel):
    """What was measured of a layer, dense and sparse, and which of the two it became."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    shape: list[int]
    input_shape: list[int]
    sparsity: float
    dense_s: float  # forward and backward, the medians of interleaved samples
    sparse_s: float
    chosen: Literal["dense", "sparse"]
    bytes_saved: int


class LayerConnections(BaseModel):
    """What the connections of a sparse layer are like at the end.

    `effective` connections and units are on a path from an input of the network to an output;
    None where the layers are no chain.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer: str
    outputs: int
    inputs: int
    connections: int
    dead_outputs: int  # outputs without a connection
    dead_inputs: int
    effective: int | None
    effective_units: int | None
    new: int | None = None  # connections that were not there before training; None: not known


class TrainingRecord(BaseModel):
    """One line of a training file. A run that failed is a record that says why.

    `purpose` is "accuracy" for a run that trained to its end, "time" for a few steps that were
    only timed: such a record has no epochs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    schema_version: int = SCHEMA
    setting: _AsColumns
    purpose: Literal["accuracy", "time"] = "accuracy"
    status: Status = "ok"
    message: str = ""
    note: str = ""  # what a reader of the figures must know, such as that a subset was used
    epochs: list[Epoch] = []
    timing: Timing | None = None  # None: not measured
    parameters: int = 0  # weights that exist and biases of the linear layers
    weights: int = 0  # weights that exist
    train_images: int = 0  # of text: characters
    test_images: int = 0
    peak_memory: int | None = None  # bytes above the process before the network was built
    memory_method: str = ""
    tuning_s: float = 0.0  # what finding a GPU's tiles took in this run; in no other time
    layers: list[Layer] = []  # where it was measured which of them are to be sparse
    connections: list[LayerConnections] = []  # of sparse layers, after the last epoch
    origin: str = ""  # the key of the setting whose trained network this one started from
    resumed: int = 0  # how often the run was interrupted and went on
    started: str = ""  # ISO 8601, UTC
    machine: dict[str, Any] = {}

    @property
    def identity(self) -> tuple[str, str]:
        """What a later record replaces: the setting, the purpose and the machine."""
        return f"{self.purpose} {self.setting.key}", str(self.machine.get("id", ""))


class TrainingStore(store.Store[TrainingRecord]):
    """The training records of a folder, open for appending."""

    kind = TrainingRecord
    file_name = FILE_NAME


def load(path: Path) -> list[TrainingRecord]:
    """Read a training file, or all of them at and below a folder; the last of a setting counts."""
    return TrainingStore.load(path)

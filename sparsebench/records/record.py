"""Record: a Case and what was measured of it; and the files records are kept in."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_serializer

from sparsebench.cases.case import Case
from sparsebench.records import software, store
from sparsebench.records.round import Round

SCHEMA = 1
FILE_NAME = "records.jsonl"

Status = Literal["ok", "incorrect", "unsupported", "oom", "timeout", "error"]


class Memory(BaseModel):
    """Bytes of one case, each above the process's own baseline; None where not measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    held: int | None = None  # what the module holds after it was built and ran once
    inference_peak: int | None = None  # the peak of one inference, above what is held
    training_peak: int | None = None  # the peak of one training step, above what is held
    method: str = ""  # how the peaks were taken


class Record(BaseModel):
    """One line of a records file. A case that failed is a record that says why."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    schema_version: int = SCHEMA
    case: Case
    status: Status
    message: str = ""
    # Seconds per call, raw, in the order they were taken; on a GPU its own, with a cold L2 cache.
    samples: list[float] = []
    hot_samples: list[float] = []  # a GPU's own with its L2 cache hot; empty on a CPU
    wall_samples: list[float] = []  # from end to end, where the others are a GPU's own
    calls_per_sample: int = 0
    errors: dict[str, float] = {}  # relative error against the oracle of "output", "input", …
    memory: Memory = Memory()
    tuning_s: float = 0.0  # what finding the tiles took on this machine, now or earlier; in no time
    wall_s: float = 0.0  # what the whole case cost, process and checks included
    started: str = ""  # ISO 8601, UTC
    machine: dict[str, Any] = {}  # the fingerprint of machine.py, roofline probe included
    run: dict[str, Any] = {}  # id, seed and position of the case in the run
    rounds: list[Round] = []  # where one turn's samples end, and how they were disturbed

    @field_serializer("case")
    def _described(self, case: Case) -> dict[str, Any]:
        return case.described

    @property
    def software(self) -> dict[str, str]:
        """What of the software its time belongs to: see `sparsebench.records.software`."""
        return software.of(self.machine)

    @property
    def identity(self) -> tuple[str, str]:
        """What a later record replaces: the case, and the machine with the software."""
        told = self.software
        names = (software.shared(told), told.get(software.OWN, ""))
        return self.case.key, f"{self.machine.get('id', '')} {zlib.crc32(repr(names).encode()):08x}"


class Store(store.Store[Record]):
    """The records of a folder, open for appending; only one process can have it open."""

    kind = Record
    file_name = FILE_NAME


def load(path: Path) -> list[Record]:
    """Read the records of a file, or of all record files at and below a folder.

    Of several records of one case, machine and software the last counts; a torn line is left out,
    with a warning.
    """
    return Store.load(path)


def merge(records: Iterable[Record]) -> list[Record]:
    """Keep the last record of each case, machine and software, in the order they first came."""
    return store.merge(records)

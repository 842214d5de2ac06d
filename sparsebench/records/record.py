"""Record: a Case and what was measured of it; and the files records are kept in."""

from __future__ import annotations

import statistics
import zlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import accumulate, count, zip_longest
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, field_serializer, field_validator, model_validator

from sparsebench.cases.case import Case
from sparsebench.lazy import lazy
from sparsebench.records import software, store
from sparsebench.records.round import Round
from sparsebench.records.sanity import check, check_count

SCHEMA = 1
FILE_NAME = "records.jsonl"

# Between the medians of the rounds of a case: if they are further apart, one is wrong.
APART = 1.5

_spoiled, _retaken = attrgetter("spoiled"), attrgetter("retaken")

Series = Literal["samples", "hot_samples", "wall_samples"]
Status = Literal["ok", "incorrect", "unsupported", "oom", "timeout", "error"]


class Memory(BaseModel):
    """Bytes of one case, each above the process's own baseline; None where not measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    held: int | None = None  # what the module holds after it was built and ran once
    inference_peak: int | None = None  # the peak of one inference, above what is held
    training_peak: int | None = None  # the peak of one training step, above what is held
    method: str = ""  # how the peaks were taken

    _no_such_count = field_validator("held", "inference_peak", "training_peak")(check_count)


class Record(BaseModel):
    """One line of a records file. A case that failed is a record that says why."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, ignored_types=(lazy,)
    )

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

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        check(self)
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with fields of `update`, without what was computed of the others."""
        copied = super().model_copy(update=update, deep=deep)
        for name in ("medians", "clean", "software", "identity"):
            copied.__dict__.pop(name, None)
        return copied

    @field_serializer("case")
    def _described(self, case: Case) -> dict[str, Any]:
        return case.described

    @property
    def round_count(self) -> int:
        """How many rounds, each a process of its own, gave samples."""
        return len(self.rounds) or (int(self.run.get("rounds", 1)) if self.samples else 0)

    def by_round(self, series: Series = "samples") -> list[list[float]]:
        """Return the samples of a series by the round that took them.

        Where the record does not say where rounds begin, they are cut into equal parts: every round
        is given the same time.
        """
        samples: list[float] = getattr(self, series)
        ends = list(accumulate([getattr(part, series) for part in self.rounds]))
        if not ends or ends[-1] != len(samples):
            parts = max(1, min(self.round_count, len(samples)))
            ends = [len(samples) * (n + 1) // parts for n in range(parts)]
        return [samples[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]

    @property
    def numbers(self) -> list[int]:
        """The number of each round: rivals' rounds of a number were measured beside each other.

        Those that were taken again come after all others, whatever has been appended since.
        """
        if not any(map(_retaken, self.rounds)):
            return list(range(len(self.rounds) or max(1, self.round_count)))
        again = [bool(part.retaken) for part in self.rounds]
        first, later = count(), count(again.count(False))
        return [next(later if taken else first) for taken in again]

    @lazy
    def medians(self) -> dict[int, float]:
        """The median of each round that nothing speaks against, of the samples that count."""
        told = self.rounds
        return {
            number: statistics.median(samples)
            for number, samples in enumerate(self._unspoiled("samples"))
            if samples and not (told and told[number].disturbed)
        }

    @lazy
    def clean(self) -> list[int]:
        """Which rounds decide, counted from 0: undisturbed, and as fast as most of those are.

        Empty where none does: then the whole record is `disturbed`.
        """
        medians = self.medians
        if not self.rounds:
            return list(medians)
        ordered = sorted(medians.values())
        if ordered and ordered[-1] <= APART * ordered[0]:
            return list(medians)
        alike = max(
            ([m for m in ordered if low <= m <= APART * low] for low in ordered),
            key=len, default=[],
        )  # fmt: skip
        return (
            [n for n, m in medians.items() if m in alike] if 2 * len(alike) > len(medians) else []
        )

    @property
    def disturbed(self) -> str:
        """Why the record decides nothing: no sentence, no winner, no crossover; "" if it does."""
        if self.status != "ok" or not self.samples or self.clean:
            return ""
        reasons = [part.disturbed for part in self.rounds if part.disturbed]
        return reasons[-1] if len(reasons) == len(self.rounds) else "its rounds are far apart"

    def clean_rounds(self, series: Series = "samples") -> dict[int, list[float]]:
        """Return the samples that count by the number of their round: of all where none is clean.

        Samples during which other work had a core are left out where a round has others.
        """
        chosen = self.clean or range(max(1, len(self.rounds)))
        every = self._unspoiled(series) if self.clean else self.by_round(series)
        return {n: samples for n, samples in enumerate(every) if n in chosen and samples}

    def clean_medians(self, series: Series = "samples") -> dict[int, float]:
        """Return the median of what `clean_rounds` gives, by the number of the round."""
        if series == "samples" and self.clean:
            return {n: self.medians[n] for n in self.clean}
        return {n: statistics.median(part) for n, part in self.clean_rounds(series).items()}

    def _unspoiled(self, series: Series) -> list[list[float]]:
        parts = self.by_round(series)
        if series != "samples" or not any(map(_spoiled, self.rounds)):
            return parts
        return [
            [sample for n, sample in enumerate(part) if n not in told.spoiled] or part
            for part, told in zip(parts, self.rounds, strict=False)
        ]

    @lazy
    def software(self) -> dict[str, str]:
        """What of the software its time belongs to: see `sparsebench.records.software`."""
        return _told(_Same(self.machine))[0]

    @lazy
    def identity(self) -> tuple[str, str]:
        """What a later record replaces: the case, and the machine with the software."""
        return self.case.key, _told(_Same(self.machine))[1]

    @property
    def apart(self) -> tuple[object, ...]:
        """What tells it apart as its identity does, without the text of that."""
        return *self.case.apart, _told(_Same(self.machine))[1]


class _Same:
    """A fingerprint by itself, not by what is in it: records that were read together share one."""

    def __init__(self, machine: Mapping[str, Any]) -> None:
        self.machine = machine

    def __hash__(self) -> int:
        return id(self.machine)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.machine is other.machine


@lru_cache
def _told(by: _Same) -> tuple[dict[str, str], str]:
    """Return the software that a fingerprint tells of, and what names the machine with it."""
    told = software.of(by.machine)
    names = (software.shared(told), told.get(software.OWN, ""))
    return told, f"{by.machine.get('id', '')} {zlib.crc32(repr(names).encode()):08x}"


class Store(store.Store[Record]):
    """The records of a folder, open for appending; only one process can have it open."""

    kind = Record
    file_name = FILE_NAME

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._begun: dict[tuple[str, str], Record] = {}

    def go_on(self, records: Iterable[Record]) -> None:
        """From now on add what is appended to the rounds of `records`, and of one another."""
        self._begun |= {record.identity: record for record in records}

    def append(self, record: Record) -> None:
        """Write `record`, with the rounds before it, as the record that counts."""
        if (earlier := self._begun.get(record.identity)) is not None:
            record = joined(earlier, record)
            self._begun[record.identity] = record
        super().append(record)


def joined(earlier: Record, later: Record) -> Record:
    """Return `later` with the rounds of `earlier` before its own; one that failed as it is."""
    if not (earlier.status == later.status == "ok" and earlier.samples and later.samples):
        return later
    errors = earlier.errors | later.errors
    return later.model_copy(
        update={
            "samples": [*earlier.samples, *later.samples],
            "hot_samples": [*earlier.hot_samples, *later.hot_samples],
            "wall_samples": [*earlier.wall_samples, *later.wall_samples],
            "rounds": [part for record in (earlier, later) for part in _rounds(record)],
            "errors": {k: max(e, earlier.errors.get(k, e)) for k, e in errors.items()},
            "memory": earlier.memory,
            "tuning_s": max(earlier.tuning_s, later.tuning_s),
            "wall_s": round(earlier.wall_s + later.wall_s, 3),
            "run": later.run | {"rounds": earlier.round_count + later.round_count},
        }
    )


def _rounds(record: Record) -> list[Round]:
    """Return the rounds of a record, told or taken to be equal."""
    series = [record.by_round(name) for name in get_args(Series)]
    cut = [
        Round(samples=len(own), hot_samples=len(hot), wall_samples=len(wall))
        for own, hot, wall in zip_longest(*series, fillvalue=())
    ]
    return record.rounds or cut


def files(path: Path) -> list[Path]:
    """Return a file of records, or all of them at and below a folder, contributed ones too."""
    return store.files_at(path, FILE_NAME)


def load(path: Path) -> list[Record]:
    """Read the records of a file, or of all record files at and below a folder.

    Of several records of one case, machine and software the last counts; a torn line is left out,
    with a warning.
    """
    return Store.load(path)


def merge(records: Iterable[Record]) -> list[Record]:
    """Keep the last record of each case, machine and software, in the order they first came."""
    return store.merge(records)

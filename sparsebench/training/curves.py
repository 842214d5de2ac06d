"""Experiments that compare losses step by step, and the records they leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict
from rich.console import Console

from sparsebench.measuring import machine
from sparsebench.records import store

SCHEMA = 1
FILE_NAME = "curves.jsonl"


class CurvesRecord(BaseModel):
    """The losses of several models, step by step. One line of a curves file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA
    experiment: str
    case: str  # what was compared, such as "fixed topology"
    conditions: dict[str, Any]  # sizes, rates, dataset, seed, threads
    losses: dict[str, list[float]]  # of each model, one a step
    started: str = ""  # ISO 8601, UTC
    machine: dict[str, Any] = {}

    @property
    def identity(self) -> tuple[str, str]:
        """What a later record replaces."""
        of = f"{self.experiment} {self.case} {sorted(self.conditions.items())}"
        return of, str(self.machine.get("id", ""))


class CurvesStore(store.Store[CurvesRecord]):
    """The curves of a folder, open for appending."""

    kind = CurvesRecord
    file_name = FILE_NAME


class Case(Protocol):
    """What an experiment of this kind yields: see CurvesRecord."""

    @property
    def case(self) -> str:
        """What was compared."""

    @property
    def conditions(self) -> dict[str, Any]:
        """Under which conditions."""

    @property
    def losses(self) -> dict[str, list[float]]:
        """The losses of each model, one a step."""


@dataclass(frozen=True)
class Curves:
    """An experiment of this kind."""

    name: str
    question: str
    cases: Callable[..., Iterable[Case]]

    def run(
        self,
        folder: Path,
        console: Console,
        *,
        seed: int,
        device: str,
        threads: int,
        data_dir: Path | None = None,
    ) -> list[CurvesRecord]:
        """Run it and append its records to `folder`; the data are where they are always."""
        del data_dir
        made = []
        with CurvesStore(folder) as records, console.status(self.name):
            for result in self.cases(seed=seed, device=device, threads=threads):
                made.append(
                    CurvesRecord(
                        experiment=self.name,
                        case=result.case,
                        conditions=result.conditions,
                        losses=result.losses,
                        started=datetime.now(UTC).isoformat(timespec="seconds"),
                        machine=machine.fingerprint(),
                    )
                )
                records.append(made[-1])
        return made


def load(path: Path) -> list[CurvesRecord]:
    """Read a curves file, or all of them at and below a folder."""
    return CurvesStore.load(path)

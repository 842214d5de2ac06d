"""What a check found, as it is kept: one JSON line for each check, in a folder that is its history.

Ratios are the head's over the base's, or ours over a rival's: below 1 is better.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sparsebench.analysis.estimates import Estimate
from sparsebench.records import store

SCHEMA = 1
FOLDER = Path("results") / "check"

Verdict = Literal["slower", "faster", "same", "can't tell", "broken", "not in base", "no time"]
CountVerdict = Literal[
    "more", "fewer", "same", "broken", "not in base", "not in head", "another size", "no count"
]
Measure = Literal["time", "memory"]
UNITS: dict[Measure, str] = {"time": "s", "memory": "B"}


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Commit(_Line):
    """A revision: its commit, when it was made, and whether the files differed from it."""

    commit: str
    date: str
    modified: bool = False


class Finding(_Line):
    """One workload: what each process took on both sides, and the verdict.

    `base` and `head` are medians of processes, in seconds or bytes: of those that decided, which
    are fresh ones where `again`. `first` has those that made it suspect, of both sides.
    """

    workload: str
    measure: Measure
    base: list[float] = []
    head: list[float] = []
    ratio: Estimate | None = None
    verdict: Verdict
    again: bool = False
    first: dict[str, list[float]] = {}
    message: str = ""


class Check(_Line):
    """Base against head, once."""

    schema_version: int = SCHEMA
    started: str  # ISO 8601, UTC
    wall_s: float
    base: Commit
    head: Commit
    tolerance: float
    settings: dict[str, float]
    findings: list[Finding]
    machine: dict[str, Any]

    @property
    def identity(self) -> tuple[str, str]:
        """Every check is kept: its moment, and the machine."""
        return f"{self.started} {self.head.commit}", str(self.machine.get("id", ""))

    @property
    def failures(self) -> list[Finding]:
        """What speaks against the head."""
        return [f for f in self.findings if f.verdict in ("slower", "broken")]


class CountFinding(_Line):
    """One workload of the kernels: the instructions that it executes on both sides, and how it is.

    `ratio` is missing where the sides are not compared; the verdict says why.
    """

    workload: str
    base: int | None = None
    head: int | None = None
    ratio: float | None = None
    verdict: CountVerdict
    message: str = ""


class CountCheck(_Line):
    """Base against head once, by the instructions that `tool` counted."""

    schema_version: int = SCHEMA
    started: str
    wall_s: float
    base: Commit
    head: Commit
    tolerance: float
    tool: str
    findings: list[CountFinding]
    machine: dict[str, Any]

    @property
    def identity(self) -> tuple[str, str]:
        """Every check is kept: its moment, and the machine."""
        return f"{self.started} {self.head.commit}", str(self.machine.get("id", ""))

    @property
    def failures(self) -> list[CountFinding]:
        """What speaks against the head."""
        return [f for f in self.findings if f.verdict in ("more", "broken")]


class WireFinding(_Line):
    """One trip wire: ours over `against`, the most that is allowed, and whether it held."""

    workload: str
    measure: Measure
    against: str
    ratio: float | None
    limit: float
    held: bool
    again: bool = False
    message: str = ""


class WireCheck(_Line):
    """All trip wires, once."""

    schema_version: int = SCHEMA
    started: str
    wall_s: float
    head: Commit | None
    findings: list[WireFinding]
    machine: dict[str, Any]

    @property
    def identity(self) -> tuple[str, str]:
        """Every check is kept: its moment, and the machine."""
        return self.started, str(self.machine.get("id", ""))


class Checks(store.Store[Check]):
    """The history of base against head."""

    kind = Check
    file_name = "checks.jsonl"


class CountChecks(store.Store[CountCheck]):
    """The history of base against head, by instructions."""

    kind = CountCheck
    file_name = "instructions.jsonl"


class WireChecks(store.Store[WireCheck]):
    """The history of the trip wires."""

    kind = WireCheck
    file_name = "trip-wires.jsonl"


def load_checks(folder: Path) -> list[Check]:
    """Read every comparison in a folder and below, the oldest first."""
    return sorted(Checks.load(folder), key=lambda check: check.started)


def load_counts(folder: Path) -> list[CountCheck]:
    """Read every comparison of instructions in a folder and below, the oldest first."""
    return sorted(CountChecks.load(folder), key=lambda check: check.started)


def load_wires(folder: Path) -> list[WireCheck]:
    """Read every check of the trip wires in a folder and below, the oldest first."""
    return sorted(WireChecks.load(folder), key=lambda check: check.started)

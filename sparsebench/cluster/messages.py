"""What crosses the wire: frozen dataclasses as JSON, checked where they arrive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

from sparsebench.cases.case import Case
from sparsebench.cases.settings import Settings
from sparsebench.measuring.runner import Again
from sparsebench.records import Record

T = TypeVar("T")

GREET = "greet"  # the line that asks an agent for its Greeting; every other line is a Task


@dataclass(frozen=True, kw_only=True)
class Task:
    """The cases of one contest, in the order to measure them; `positions` are theirs in the run.

    `attempt` counts from 0. With `together` the GPUs of a host are measured at the same time.
    `again` says for each case that had rounds before how it is taken once more; else it is empty.
    """

    run: str
    seed: int
    number: int
    attempt: int
    cases: tuple[Case, ...]
    positions: tuple[int, ...]
    settings: Settings
    together: bool = False
    again: tuple[Again, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Greeting:
    """Where a worker runs.

    `host` is alike for all workers that share a machine and tells nothing else; `devices` names
    what each device of a case is there, alike for all workers that share it; `threads` is how many
    PyTorch would use; `versions` what has to agree among all that measure.
    """

    machine: dict[str, Any]
    host: str
    devices: dict[str, str]
    threads: int
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What an agent says while it works on a task.

    "alive" now and then; "waiting" for another run on its host (`text` says which); "under_way":
    the case at `index` of the task is being measured; "record"; at last "done", or "failed" with
    the reason in `text`. In answer to GREET it is a "greeting".
    """

    kind: Literal["alive", "waiting", "under_way", "record", "done", "failed", "greeting"]
    number: int = -1
    attempt: int = -1
    index: int = -1
    text: str = ""
    record: Record | None = None
    greeting: Greeting | None = None


def short(host: str) -> str:
    """Return what a record keeps of the `host` of a Greeting."""
    return host[:8]


def to_json(message: Task | Told) -> str:
    """Return `message` as one line."""
    return TypeAdapter(type(message)).dump_json(message).decode()


def from_json(kind: type[T], text: str | bytes) -> T:
    """Return the message of `kind` that `text` is. Raises ValueError where it is none."""
    return TypeAdapter(kind).validate_json(text)

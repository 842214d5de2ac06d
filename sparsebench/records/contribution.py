"""Records that are given away: what is kept of them, and what is not.

What is kept is listed here, by name; everything else goes. Texts lose what looks like a path, and
the names of this machine and of who is logged in.
"""

from __future__ import annotations

import getpass
import hashlib
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sparsebench.cases.weights import PREFIX
from sparsebench.errors import InputError
from sparsebench.records import store
from sparsebench.records.record import Record

# Of the machine. `software` is what times belong to; of `sparsebench` the release and the commit.
MACHINE: dict[str, tuple[str, ...] | None] = {
    "id": None,
    "cpu": (
        "model", "architecture", "cores", "threads", "usable_threads", "isa", "caches",
    ),
    "memory_gib": None,
    "gpus": None,
    "os": None,
    "huge_pages": None,
    "malloc": None,
    "python": None,
    "torch": ("version", "threads", "blas", "cuda"),
    "sparsebench": ("version", "commit"),
    "layers": ("backend", "isa", "isa_reason"),
    "software": ("torch", "allocator", "threads", "method", "implementation"),
    "roofline": None,
}  # fmt: skip
RUN = ("id", "seed", "position", "rounds", "attempt")
CONDITIONS = ("load", "loop_s", "pressure", "stolen", "mhz", "governor")
# Of a record itself all fields; of what is in them this.
KEPT = {"machine": tuple(MACHINE), "run": RUN, "rounds.conditions": CONDITIONS}

# Paths: in quotation marks, where they may have spaces in them; and without.
_PATH = re.compile(
    r"""(?P<mark>['"`])(?:~|[A-Za-z]:)?[\\/][^'"`]*(?P=mark)"""
    r"""|(?<![\w.\\/])(?:~|[A-Za-z]:)?[\\/](?=[\w.])[^\s'"`,;:)]+"""
)
_LONGEST = 300  # letters of a message


@dataclass(frozen=True)
class Contribution:
    """Records of one machine under a name for their file, and what was taken out of them."""

    name: str
    records: Sequence[Record]
    taken: Sequence[str]

    @property
    def content(self) -> bytes:
        """The file: a JSON line for each record."""
        return "".join(record.model_dump_json() + "\n" for record in self.records).encode()


def read(path: Path) -> list[Record]:
    """Read a file of records, every line of it.

    Raises InputError, naming file, line and field, for one that is no record.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = Record.model_validate_json(line)
        except ValidationError as error:
            raise InputError(f"{path}, line {number}: {store.told(error)}") from None
        _check(record, f"{path}, line {number}")
        found.append(record)
    if not found:
        raise InputError(f"{path}: holds no record")
    return store.merge(found)


def contributions(records: Sequence[Record]) -> list[Contribution]:
    """Return what is given away of `records`: for each machine a file, named by it and a digest."""
    machines: dict[str, list[Record]] = {}
    for record in records:
        machines.setdefault(str(record.machine["id"]), []).append(record)
    return [_of_machine(identity, own) for identity, own in machines.items()]


def _of_machine(identity: str, records: Sequence[Record]) -> Contribution:
    taken: dict[str, None] = {}
    private = _names()
    stripped = [_stripped(record, private, taken) for record in records]
    model = re.sub(r"[^a-z0-9]+", "-", str(records[0].machine["cpu"]["model"]).lower()).strip("-")
    content = Contribution("", stripped, ()).content
    digest = hashlib.sha256(content).hexdigest()[:8]
    name = f"{model[:40].strip('-') or 'machine'}-{identity}-{digest}.records.jsonl"
    return Contribution(name, stripped, list(taken))


def _check(record: Record, place: str) -> None:
    """Raise InputError where a record says too little to be compared with others'."""
    if record.schema_version != Record.model_fields["schema_version"].default:
        raise InputError(f"{place}: schema_version = {record.schema_version}: is not read here")
    if not re.fullmatch(r"[0-9a-f]{4,64}", identity := str(record.machine.get("id", ""))):
        raise InputError(f"{place}: machine.id = {identity!r}: must be a digest in hexadecimal")
    if not isinstance(cpu := record.machine.get("cpu"), Mapping) or "model" not in cpu:
        raise InputError(f"{place}: machine.cpu.model is required but missing")
    if record.status == "ok" and not record.samples:
        raise InputError(f"{place}: samples = []: status is 'ok', so there must be some")


def _stripped(record: Record, private: Sequence[str], taken: dict[str, None]) -> Record:
    def kept(value: Mapping[str, Any], names: Sequence[str], place: str) -> dict[str, Any]:
        taken.update({f"{place}.{name}": None for name in value if name not in names})
        return {name: value[name] for name in names if name in value}

    def plain(value: Any, place: str) -> Any:
        if isinstance(value, str):
            text = _plain(value, private)
            if text != value:
                taken[f"paths and names in {place}"] = None
            return text
        if isinstance(value, Mapping):
            return {name: plain(each, f"{place}.{name}") for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [plain(each, place) for each in value]
        return value

    machine = kept(record.machine, tuple(MACHINE), "machine")
    for name, names in MACHINE.items():
        if names is not None and isinstance(machine.get(name), Mapping):
            machine[name] = kept(machine[name], names, f"machine.{name}")
    rounds = [
        replace(
            turn,
            conditions=kept(turn.conditions, CONDITIONS, "rounds.conditions"),
            disturbed=plain(turn.disturbed, "rounds.disturbed"),
        )
        for turn in record.rounds
    ]
    return record.model_copy(
        update={
            "machine": plain(machine, "machine"),
            "run": plain(kept(record.run, RUN, "run"), "run"),
            "rounds": rounds,
            "message": plain(record.message, "message")[:_LONGEST],
        }
    )


def _plain(text: str, private: Sequence[str]) -> str:
    """Return `text` without paths, and without the names of who measured and where."""
    if not text.startswith(PREFIX):
        text = _PATH.sub("…", text)
    for name in private:
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", text)
    return text


def _names() -> list[str]:
    """Return what tells who measured, and where: of three letters and more, and not "root"."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = ""
    names = {platform.node(), platform.node().partition(".")[0], user, Path.home().name}
    return sorted((n for n in names - {"root"} if len(n) > 2), key=len, reverse=True)

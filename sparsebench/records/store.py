"""The files that records are kept in: one JSON line each, appended and synced."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, ClassVar, Generic, Protocol, Self, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from sparsebench.errors import StoreError


class Line(Protocol):
    """What a line of such a file holds: a pydantic model with an identity and a schema_version."""

    @property
    def identity(self) -> tuple[str, str]:
        """What a later line replaces: what was measured, and the machine."""

    @classmethod
    def model_validate_json(cls, json_data: bytes) -> Self:
        """Read a line."""

    def model_dump_json(self) -> str:
        """Write a line."""


L = TypeVar("L", bound=Line)


class Store(Generic[L]):
    """The records of a folder, open for appending; only one process can have it open.

    A subclass says what kind of records they are, and the name of their file.

    Use as a context manager. Raises StoreError where another run has the folder open, or it
    cannot be written.
    """

    kind: ClassVar[type[Line]]
    file_name: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / self.file_name
        self.appended = 0  # records, since it was opened

    @classmethod
    def load(cls, path: Path) -> list[L]:
        """Read a file of such records, or all of them at and below a folder: see `load`."""
        files = files_at(path, cls.file_name)
        kind = cast(type[L], cls.kind)
        if len(files) == 1:
            return load(files[0], kind)
        return merge(record for file in files for record in load(file, kind))

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / ".lock").open("w")
            self._file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise StoreError(f"{self.folder}: cannot be written: {error.strerror}") from error
        try:
            # The lock goes with the process, however that ends.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.__exit__(None, None, None)
            raise StoreError(
                f"{self.folder}: another run is writing here; wait for it, or choose another --out"
            ) from error
        _drop_torn_line(self.path)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        self._lock.close()

    def append(self, record: L) -> None:
        """Write `record` so that it survives a crash of process or system right after.

        Raises StoreError where it cannot be written; the file is then as it was before.
        """
        line = (record.model_dump_json() + "\n").encode()
        end = os.fstat(self._file.fileno()).st_size
        try:
            if (written := self._file.write(line)) != len(line):
                raise OSError(f"only {written} of {len(line)} bytes were written: disk full?")
            os.fsync(self._file.fileno())
        except OSError as error:
            os.ftruncate(self._file.fileno(), end)
            raise StoreError(
                f"{self.path}: cannot append a record: {error.strerror or error}; "
                "the records before it are intact"
            ) from error
        self.appended += 1

    def drop(self, identities: set[tuple[str, str]]) -> None:
        """Move the records of `identities` from the file into that of old ones, `….old`.

        So are records that later ones replaced. Old ones are appended, never written over; lines
        that are no record stay where they are. Raises StoreError where that cannot be written:
        everything is then still in the file.
        """
        old, kept = self._sorted_out(identities)
        if not old:
            return
        replacement = self.path.with_suffix(".new")
        try:
            with self.path.with_suffix(".jsonl.old").open("ab") as file:
                _write(file, old)
            with replacement.open("wb") as file:
                _write(file, kept)
            os.replace(replacement, self.path)
        except OSError as error:
            with suppress(OSError):
                replacement.unlink(missing_ok=True)
            raise StoreError(f"{self.path}: cannot be rewritten: {error.strerror}") from error
        self._file.close()
        self._file = self.path.open("ab", buffering=0)

    def _sorted_out(self, identities: set[tuple[str, str]]) -> tuple[list[bytes], list[bytes]]:
        """Return the lines of the file that are to go, and those that stay, as they are."""
        lines = [line for line in self.path.read_bytes().splitlines(keepends=True) if line.strip()]
        found = [_identity(line, self.kind) for line in lines]
        last = {identity: number for number, identity in enumerate(found)}
        goes = [
            identity is not None and (identity in identities or last[identity] != number)
            for number, identity in enumerate(found)
        ]
        old = [line for line, leaves in zip(lines, goes, strict=True) if leaves]
        return old, [line for line, leaves in zip(lines, goes, strict=True) if not leaves]


def _write(file: BinaryIO, lines: list[bytes]) -> None:
    file.writelines(lines)
    file.flush()
    os.fsync(file.fileno())


def _identity(line: bytes, kind: type[Line]) -> tuple[str, str] | None:
    """Return what the record in a line is of; None for a line that is none."""
    if _schema(line, known := _known_schema(kind)) != known:
        return None
    try:
        return kind.model_validate_json(line).identity
    except ValidationError:
        return None


def files_at(path: Path, name: str) -> list[Path]:
    """Return a file, or all files at and below a folder that are called `name`, or ….`name`."""
    if not path.is_dir():
        return [path]
    return sorted({*path.rglob(name), *path.rglob(f"*.{name}")})


def load(path: Path, kind: type[L]) -> list[L]:
    """Read the records of `kind` that are in a file.

    Of several of one identity the last counts. A line that is no such record, such as one torn by
    a crash, is left out with a warning that names it; so are lines of another schema, with one
    warning for all of them that names both versions.
    """
    if not path.exists():
        return []
    with uncollected():
        return merge(_read(path, kind))


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage: among thousands of records that are made there is none to find.

    What was made counts as old after that. As young it would be looked at twice more, all of it,
    which takes as long as to read it. Of little that is not worth to ask what is frozen, which
    takes 20 ms where that is all that has been imported.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            many = gc.get_count()[0] > gc.get_threshold()[0]
            if many and not gc.get_freeze_count():  # what others froze stays frozen
                gc.freeze()
                gc.unfreeze()
            gc.enable()


@contextmanager
def set_aside() -> Iterator[None]:
    """Look for garbage, but not among what is there already: thousands of records and their points.

    Figures leave garbage, which has to be found while others are drawn.
    """
    frozen = gc.isenabled() and not gc.get_freeze_count()  # what others froze stays frozen
    if frozen:
        gc.freeze()
    try:
        yield
    finally:
        if frozen:
            gc.unfreeze()


def merge(records: Iterable[L]) -> list[L]:
    """Keep the last record of each identity, in the order they first came."""
    return list({_apart(record): record for record in records}.values())


def _apart(record: Line) -> object:
    """Return what tells a record apart: its identity, or what stands for it and takes less time."""
    return getattr(record, "apart", None) or record.identity


def _read(path: Path, kind: type[L]) -> Iterable[L]:
    known = _known_schema(kind)
    foreign: dict[str, list[int]] = {}  # lines, by their schema, which may be anything
    machines: dict[str, object] = {}
    validate = TypeAdapter(kind).validator.validate_json
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            if (schema := _schema(line, known)) != known:
                foreign.setdefault(str(schema), []).append(number)
                continue
            try:
                made = validate(line)
            except ValidationError as error:
                warnings.warn(
                    f"{path}, line {number} is no record and is left out: {told(error)}",
                    stacklevel=2,
                )
                continue
            _share(made, machines)
            yield made
    for schema, lines in foreign.items():
        warnings.warn(
            f"{path}: {len(lines)} records of schema {schema} are left out, the first in line "
            f"{lines[0]}: this version of sparsebench reads schema {known}",
            stacklevel=2,
        )


def _share(made: Line, machines: dict[str, object]) -> None:
    """Let a record have what an earlier one tells of the machine, where it tells the same.

    That is most of many a record. `machines` are those of the last records, by their software,
    which differs between the implementations that are measured in turns.
    """
    fields = vars(made)
    if isinstance(machine := fields.get("machine"), dict):
        software = str(machine.get("software"))
        if machines.get(software) == machine:
            fields["machine"] = machines[software]
        else:
            machines[software] = machine


def _known_schema(kind: type[Line]) -> int:
    known: int = cast(Any, kind).model_fields["schema_version"].default
    return known


def told(error: ValidationError) -> str:
    """Return the first thing that is wrong in a line: the field, what is, and what was expected."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "unexpected_keyword_argument" and first["loc"][0] == "rounds":
        # A Round is a part of the model, and says what a model says.
        message = "Extra inputs are not permitted"
    value = first["input"]
    # What we say ourselves names the value; a whole record would hide the message.
    given = "" if first["type"] == "value_error" or not place else f" = {value!r:.60}"
    return f"{place}{given}: {message}" if place else message


def _schema(line: bytes, known: int) -> object:
    """Return which schema a line says it has; the known one where it says none."""
    if line.startswith(b'{"schema_version":%d,' % known):  # as it is written here: all but always
        return known
    try:
        content = json.loads(line)
    except ValueError:
        return known
    return content.get("schema_version", known) if isinstance(content, dict) else known


def _drop_torn_line(path: Path) -> None:
    """Cut off a last line without an end: a crash tore it, and the next must not join it."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
        warnings.warn(
            f"{path}: the last line was torn by a crash and is dropped; its case is measured again",
            stacklevel=3,
        )

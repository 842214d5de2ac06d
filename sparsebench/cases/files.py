"""The TOML files that say what is asked: found, read, and explained where they are wrong."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsebench import shipped
from sparsebench.errors import InputError

Place = Sequence[str | int]


@dataclass(frozen=True)
class File:
    """A file: how messages name it, and what is written there."""

    place: str
    text: str

    def content(self) -> dict[str, Any]:
        """Return what it says; raises InputError, naming file and line, where it is no TOML."""
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{self.place}: {error}") from None

    def explain(self, error: Any, fields_at: Callable[[Place], Iterable[str]]) -> str:
        """Make one line of pydantic's description of an error.

        It names file, line, field, value, and what is allowed; for a field that is none, the
        fields that there are, which `fields_at` tells of the table that the field stands in.
        """
        at = [part for part in error["loc"] if not str(part).startswith(("tuple", "function"))]
        message = error["msg"].removeprefix("Value error, ")
        if error["type"] == "missing":
            return f"{self.place}: {path(at)} is required but missing"
        if error["type"] == "extra_forbidden":
            known = ", ".join(dict.fromkeys(fields_at(at[:-1])))
            message = f"unknown field: choose from {known}"
        return self.message(at, message, error["input"])

    def message(self, at: Place, message: str, value: Any) -> str:
        """Return one line: file, line, the field `at`, its value, and `message`."""
        line = line_of(at, self.text)
        given = "" if isinstance(value, dict) else f" = {value!r}"
        return f"{self.place}{f', line {line}' if line else ''}: {path(at)}{given}: {message}"


def names(room: str) -> list[str]:
    """Return the names of the files that the suite ships in a room of `experiments/`.

    It needs no torch, so that TAB is quick.
    """
    return sorted(path.stem for path in (shipped.folder() / room).glob("*.toml"))


def find(name: str, room: str) -> File | None:
    """Return the file that the suite ships as `name` in a room of `experiments/`.

    Or that at the path `name`; None where there is neither.
    Raises InputError where it cannot be read.
    """
    file, place = Path(name), name
    if file.suffix != ".toml" and name in names(room):
        file, place = shipped.folder() / room / f"{name}.toml", f"experiments/{room}/{name}.toml"
    elif not file.is_file():
        return None
    try:
        return File(place, file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{place}: cannot be read: {error}") from None


def path(at: Place) -> str:
    """Return how a message names the field `at`: `grid.width[1]`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in at)
    return "".join(parts).removeprefix(".")


def line_of(at: Place, text: str) -> int | None:
    """Return the line that sets the field `at`; else the one where its table begins.

    Where neither is found, as in a table within one line, the first line that sets such a name.
    """
    names = [number for number, part in enumerate(at) if isinstance(part, str)]
    if not names:
        return None
    tables = _tables(text)
    name, table = at[names[-1]], list(at[: names[-1]])
    setting = re.compile(rf"^\s*(\[+\s*)?{re.escape(str(name))}\b")
    lines = [number for number, line in enumerate(text.splitlines()) if setting.match(line)]
    begins = [tables.index(list(at))] if list(at) in tables else []
    begins += [number for number in lines if tables[number] == table]
    begins += [tables.index(table)] if table and table in tables else []
    found = next(iter((*begins, *lines)), None)
    return None if found is None else found + 1


def _tables(text: str) -> list[list[str | int]]:
    """The table that each line is in, as its headers say it: `["rows", 1]` for the second one."""
    here: list[str | int] = []
    counts: dict[str, int] = {}
    tables = []
    for line in text.splitlines():
        if header := re.match(r"^\s*(\[\[?)\s*([\w.-]+)\s*\]", line):
            name = header[2]
            if header[1] == "[[":
                counts[name] = counts.get(name, 0) + 1
            here, parts = [], name.split(".")
            for number, part in enumerate(parts, 1):
                here.append(part)
                if (count := counts.get(".".join(parts[:number]))) is not None:
                    here.append(count - 1)
        tables.append(here)
    return tables

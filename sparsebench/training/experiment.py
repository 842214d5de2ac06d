"""Experiment: which settings a TOML file asks to train."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    ValidationError,
    field_validator,
)

from sparsebench.cases import files
from sparsebench.cases.files import File
from sparsebench.errors import InputError
from sparsebench.training import datasets
from sparsebench.training.rows import Row, RowReader
from sparsebench.training.settings import Setting

ROOM = "training"  # below experiments/


def _several(rows: Any) -> Any:
    if isinstance(rows, dict):
        raise ValueError("is one table: write its header in two brackets, [[…]]")
    return rows


Rows = Annotated[tuple[Row, ...], BeforeValidator(_several)]


class Table(BaseModel):
    """An experiment as its file has it: see `Experiment`.

    A row is a table of fields of a setting, over those of the `recipe` that it names, if any, over
    those of `base`. A field with several values makes a row of each, and of each combination;
    `name` says what they are called, with fields in braces as Python's `format` has them:
    "sparse {sparsity:.0%}". Rows of `timed` are timed beside the others, and not trained. `shares`
    names the experiment whose records this one adds to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: Annotated[str, StringConstraints(min_length=1)]
    dataset: str = "MNIST"
    seeds: Annotated[StrictInt, Field(ge=1)] = 1
    shares: Annotated[str, StringConstraints(pattern=r"^[\w-]*$")] = ""
    base: Row = {}
    recipes: dict[str, Row] = {}
    rows: Annotated[Rows, Field(min_length=1)]
    timed: Rows = ()

    @field_validator("dataset")
    @classmethod
    def _known(cls, dataset: str) -> str:
        if dataset.lower() not in {name.lower() for name in datasets.NAMES}:
            raise ValueError(f"unknown dataset: choose from {', '.join(datasets.NAMES)}")
        return dataset


@dataclass(frozen=True)
class Experiment:
    """What is asked, the settings that answer it, on which data and from how many seeds.

    `name` is that of its records: its own, or the one of the experiment that it adds to.
    """

    name: str
    question: str
    dataset: str
    seeds: int
    rows: tuple[Setting, ...]
    timed: tuple[Setting, ...] = ()  # beside the rows


def names() -> list[str]:
    """Return the names of the experiments that the suite ships."""
    return files.names(ROOM)


def load(name: str) -> Experiment | None:
    """Read the experiment that the suite ships as `name`, or the file at the path `name`.

    None where there is neither. Raises InputError that names the file, the field, its value and
    what is allowed.
    """
    file = files.find(name, ROOM)
    return None if file is None else read(file, Path(name).stem)


@cache
def shipped(name: str) -> Experiment:
    """Return the experiment that the suite ships as `name`."""
    found = load(name)
    assert found is not None
    return found


def read(file: File, name: str) -> Experiment:
    """Return the experiment in `file`; raises InputError with a line for everything wrong there."""
    try:
        table = Table.model_validate(file.content())
    except ValidationError as error:
        lines = (file.explain(e, lambda _: Table.model_fields) for e in error.errors())
        raise InputError("\n".join(lines)) from None
    own = table.shares or name
    reader = RowReader(file, own, table.dataset, base=table.base, recipes=table.recipes)
    rows, timed = (tuple(reader.settings(n, getattr(table, n))) for n in ("rows", "timed"))
    reader.check_starts((*rows, *timed))
    if reader.wrong:
        raise InputError("\n".join(dict.fromkeys(reader.wrong)))
    return Experiment(own, table.question, table.dataset, table.seeds, rows, timed)

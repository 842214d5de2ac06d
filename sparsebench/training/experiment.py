"""Experiment: which settings a TOML file asks to train."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
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
    TypeAdapter,
    ValidationError,
    field_validator,
)

from sparsebench.cases import files
from sparsebench.cases.files import File, Place
from sparsebench.errors import InputError
from sparsebench.training import datasets
from sparsebench.training.settings import KINDS, CifarSetting, Setting, SettingError, names_of

ROOM = "training"  # below experiments/

# What no row says: it comes from the file as a whole, or from the command line.
_NOT_OF_ROWS = ("experiment", "row", "dataset", "seed", "device", "threads", "processes")

Row = dict[str, Any]


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
    reader = _Reader(file, table, table.shares or name)
    rows, timed = (tuple(reader.settings(part)) for part in ("rows", "timed"))
    reader.check_starts((*rows, *timed))
    if reader.wrong:
        raise InputError("\n".join(dict.fromkeys(reader.wrong)))
    return Experiment(reader.name, table.question, table.dataset, table.seeds, rows, timed)


class _Reader:
    """Makes settings of rows, and collects what is wrong with them."""

    def __init__(self, file: File, table: Table, name: str) -> None:
        self.file, self.table, self.name = file, table, name
        self.wrong: list[str] = []
        self._taken: dict[str, Place] = {}

    def settings(self, part: str) -> Iterator[Setting]:
        """Yield the settings of all rows of a part of the file."""
        for number, row in enumerate(getattr(self.table, part)):
            at = (part, number)
            for values, places in self._combinations(at, row):
                setting = self._setting(at, values, places)
                if setting is not None:
                    yield setting

    def check_starts(self, settings: Iterable[Setting]) -> None:
        """See that what starts as a trained network names one of the rows that train such."""
        chosen = [setting for setting in settings if isinstance(setting, CifarSetting)]
        for setting in chosen:
            starts = [
                other.row
                for other in chosen
                if (other.network, other.pruning) == (setting.network, "none")
                and "," not in other.row  # what options change is named behind a comma
            ]
            if setting.start and setting.start not in starts:
                known = ", ".join(starts) or "none"
                self._add(
                    (*self._taken[setting.row], "start"),
                    f"names no row that is not pruned, without a comma in its name, of "
                    f"{setting.network}: there are {known}",
                    setting.start,
                )

    def _combinations(self, at: Place, row: Row) -> Iterator[tuple[Row, dict[str, Place]]]:
        """Yield every combination of a row's values, and where each of them stands."""
        recipe = row.get("recipe", "")
        if recipe and recipe not in self.table.recipes:
            known = ", ".join(self.table.recipes) or "none, as the file has no table [recipes.…]"
            self._add((*at, "recipe"), f"choose from {known}", recipe)
            return
        values: Row = {}
        places: dict[str, Place] = {}
        for table, place in (
            (self.table.base, ("base",)),
            (self.table.recipes.get(recipe, {}), ("recipes", recipe)),
            (row, at),
        ):
            values |= table
            places |= {name: (*place, name) for name in table}
        values.pop("recipe", None)
        choices = []
        for name, value in values.items():
            if value == []:
                self._add(places[name], "give at least one value", value)
            ones = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
            choices.append(
                [
                    (name, one, places[name] if number is None else (*places[name], number))
                    for number, one in ones
                ]
            )
        for chosen in itertools.product(*choices):
            yield {name: one for name, one, _ in chosen}, {name: p for name, _, p in chosen}

    def _setting(self, at: Place, values: Row, places: dict[str, Place]) -> Setting | None:
        template = values.pop("name", None)
        if not isinstance(template, str) or not template:
            # A row without one is named as a whole: a table is not shown as a value.
            place, value = (places["name"], template) if "name" in places else (at, {})
            self._add(place, "needs a name, in quotes", value)
            return None
        network = values.get("network", "mlp")
        if network not in KINDS:
            self._add(places["network"], f"choose from {', '.join(KINDS)}", network)
            return None
        kind = KINDS[network]
        fields = [field for field in names_of(kind) if field not in _NOT_OF_ROWS]
        if unknown := values.keys() - set(fields):
            for field in sorted(unknown):
                known = ", ".join(("name", *fields))
                self._add(places[field], f"unknown field: choose from {known}", values[field])
            return None
        own = {"experiment": self.name, "row": template, "dataset": self.table.dataset.lower()}
        try:
            # As JSON, since a strict check takes a dataclass from nothing else but itself.
            written = json.dumps(own | values, default=str)
            setting = TypeAdapter(kind).validate_json(written, strict=True)
        except ValidationError as error:
            self._explain(error, at, places)
            return None
        return self._named(setting, at, values, places)

    def _named(
        self, setting: Setting, at: Place, values: Row, places: dict[str, Place]
    ) -> Setting | None:
        """Return the setting under its name, if that and the data go with it."""
        fields = {name: getattr(setting, name) for name in names_of(type(setting))}
        template, place = fields.pop("row"), places.get("name", (*at, "name"))
        try:
            name = template.format(**fields)
        except (LookupError, ValueError, AttributeError, TypeError) as error:
            self._add(place, f"is no name with fields of the setting in braces ({error})", template)
            return None
        if name in self._taken:
            other = files.path(self._taken[name])
            self._add(place, f"{name!r} is a row of {other} already: name what they differ in",
                      template)  # fmt: skip
            return None
        self._taken[name] = at
        if datasets.shape_of(self.table.dataset) != setting.IMAGE:
            self._add(("dataset",), f"{setting.network} is not made for its images",
                      self.table.dataset)  # fmt: skip
            return None
        return replace(setting, row=name)

    def _explain(self, error: ValidationError, at: Place, places: dict[str, Place]) -> None:
        for one in error.errors():
            message, field, value = one["msg"], next(iter(one["loc"]), ""), one["input"]
            cause = one.get("ctx", {}).get("error")
            if isinstance(cause, SettingError):
                field, value = cause.field, cause.value
                message = f"must be {cause.allowed}"
            self._add(places.get(str(field), (*at, field)), message, value)

    def _add(self, at: Place, message: str, value: Any) -> None:
        self.wrong.append(self.file.message(at, message, value))

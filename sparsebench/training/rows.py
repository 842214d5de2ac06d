"""The rows of an experiment's file: settings are made of them, and what is wrong is explained."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sparsebench.cases import files
from sparsebench.cases.files import File, Place
from sparsebench.training import datasets
from sparsebench.training.settings import KINDS, CifarSetting, Setting, SettingError, names_of

# What no row says: it comes from the file as a whole, or from the command line.
_NOT_OF_ROWS = ("experiment", "row", "dataset", "seed", "device", "threads", "processes")

Row = dict[str, Any]


class RowReader:
    """Makes settings of rows, and collects what is wrong with them."""

    def __init__(
        self, file: File, name: str, dataset: str, *, base: Row, recipes: dict[str, Row]
    ) -> None:
        self.file, self.name, self.dataset = file, name, dataset
        self.base, self.recipes = base, recipes
        self.wrong: list[str] = []
        self._taken: dict[str, Place] = {}

    def settings(self, part: str, rows: Iterable[Row]) -> Iterator[Setting]:
        """Yield the settings of all `rows`, which the file has as `part`."""
        for number, row in enumerate(rows):
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
        if recipe and recipe not in self.recipes:
            known = ", ".join(self.recipes) or "none, as the file has no table [recipes.…]"
            self._add((*at, "recipe"), f"choose from {known}", recipe)
            return
        values: Row = {}
        places: dict[str, Place] = {}
        for table, place in (
            (self.base, ("base",)),
            (self.recipes.get(recipe, {}), ("recipes", recipe)),
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
        own = {"experiment": self.name, "row": template, "dataset": self.dataset.lower()}
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
        if datasets.shape_of(self.dataset) != setting.IMAGE:
            self._add(("dataset",), f"{setting.network} is not made for its images",
                      self.dataset)  # fmt: skip
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

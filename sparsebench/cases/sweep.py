"""Sweep: which cases a TOML file asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError, model_validator

from sparsebench.cases import files
from sparsebench.cases.case import Case
from sparsebench.cases.filters import ALIASES, Condition, parse
from sparsebench.cases.grid import Grid
from sparsebench.cases.settings import Settings
from sparsebench.errors import InputError

ROOM = "sweeps"  # below experiments/


class Sweep(BaseModel):
    """The cases of `grid` but those that an `exclude` describes, and those of each `include`.

    An `exclude` holds conditions on fields, which all have to hold: a value, a list of values, or
    a comparison such as "<0.9". An `include` is a grid that takes what it does not say from
    `grid`. The other fields say how cases are measured: `settings.Settings`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = ""
    rounds: Annotated[StrictInt, Field(ge=1)] = 3
    precision: Annotated[float, Field(gt=0)] | None = None
    sample_s: Annotated[float, Field(gt=0)] = 0.1
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    retake: Annotated[float, Field(ge=0)] = 0.5
    grid: Grid
    exclude: tuple[dict[str, Any], ...] = ()
    include: tuple[Grid, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _complete_includes(cls, data: Any) -> Any:
        grid, includes = data.get("grid"), data.get("include", [])
        if not isinstance(grid, dict) or not isinstance(includes, list):
            return data
        return data | {"include": [_completed(grid, include) for include in includes]}

    @model_validator(mode="after")
    def _check_excludes(self) -> Self:
        for number, conditions in enumerate(self.exclude):
            try:
                _conditions(conditions)
            except InputError as error:
                raise ValueError(f"exclude[{number}]: {error}") from None
        return self

    def changed(
        self,
        *,
        threads: Sequence[int] | None,
        seed: int | None,
        weights: Sequence[str] | None = None,
        min_sparsity: float | None = None,
    ) -> Sweep:
        """Return the sweep with what is not None changed in every grid.

        With `weights` the matrices of those files take the place of the layers that it asks for.
        """
        changes: dict[str, Any] = {"threads": tuple(threads)} if threads else {}
        if seed is not None:
            changes["seed"] = (seed,)
        if weights:
            layers = ("width", "in_features", "out_features", "sparsity", "kernel", "stride")
            changes |= dict.fromkeys(layers) | {"topology": (), "weights": tuple(weights)}
        if min_sparsity is not None:
            changes["min_sparsity"] = min_sparsity
        grids = [grid.model_copy(update=changes) for grid in (self.grid, *self.include)]
        return self.model_copy(update={"grid": grids[0], "include": tuple(grids[1:])})

    def settings(self, seed: int) -> Settings:
        """Return how the cases are to be measured, in an order drawn from `seed`."""
        names = ("rounds", "sample_s", "timeout_s", "precision", "retake")
        return Settings(seed=seed, **{name: getattr(self, name) for name in names})

    def cases(self, devices: Sequence[str], threads: Sequence[int]) -> list[Case]:
        """Return all cases, each once; `devices` and `threads` are for grids that name none."""
        excludes = [_conditions(conditions) for conditions in self.exclude]
        kept = [
            case
            for case in self.grid.cases(devices, threads)
            if not any(all(holds(case) for holds in conditions) for conditions in excludes)
        ]
        included = [case for grid in self.include for case in grid.cases(devices, threads)]
        return list(dict.fromkeys(kept + included))

    @property
    def files(self) -> list[str]:
        """The paths of files with weights that it asks for."""
        return list(dict.fromkeys(p for grid in (self.grid, *self.include) for p in grid.files))


def names() -> list[str]:
    """Return the names of the sweeps that the suite ships."""
    return files.names(ROOM)


def load(name: str) -> Sweep:
    """Read the sweep that the suite ships as `name`, or the file at the path `name`.

    Raises InputError that names the file, the field, its value and what is allowed.
    """
    file = files.find(name, ROOM)
    if file is None:
        raise InputError(_unknown(name))
    try:
        return Sweep.model_validate(file.content())
    except ValidationError as error:
        raise InputError("\n".join(file.explain(e, _fields_at) for e in error.errors())) from None


def _unknown(name: str) -> str:
    path = Path(name)
    if path.suffix or len(path.parts) > 1:
        return f"{name}: no such file"
    near = get_close_matches(name, names(), n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"no sweep {name!r}{hint}: give a path, or one of {', '.join(names())}"


def _fields_at(place: files.Place) -> list[str]:
    return [*Grid.model_fields, *ALIASES] if place else list(Sweep.model_fields)


def _completed(grid: dict[str, Any], include: Any) -> Any:
    """Fill `include` up from `grid`; a shape given one way replaces one given the other."""
    if not isinstance(include, dict):
        return include
    shape = ALIASES.keys() | {"in_features", "out_features", "weights"}
    hidden = shape if shape & include.keys() else set()
    if "weights" in include:
        hidden = hidden | {"sparsity", "topology"}
    return {name: value for name, value in grid.items() if name not in hidden} | include


def _conditions(described: dict[str, Any]) -> list[Condition]:
    return [parse(_as_text(name, value)) for name, value in described.items()]


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, list):
        return f"{name}={','.join(str(v) for v in value)}"
    return f"{name}{value}" if re.match(r"[<>!=]", str(value)) else f"{name}={value}"

"""Sweep: which cases a TOML file asks for."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Annotated, Any, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from sparsebench.cases import files
from sparsebench.cases import names as known
from sparsebench.cases.case import DTYPE_BYTES, WINDOW, Case, Operation, Phase, same_padding
from sparsebench.cases.filters import ALIASES, Condition, parse
from sparsebench.cases.settings import Settings
from sparsebench.errors import InputError

T = TypeVar("T")

ROOM = "sweeps"  # below experiments/


def _one_of(kind: str, allowed: Sequence[str]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"unknown {kind}: choose from {', '.join(allowed)}")
        return value

    return AfterValidator(check)


Many = Annotated[
    tuple[T, ...],
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,)),
    Field(min_length=1),
]
Size = Annotated[StrictInt, Field(ge=1)]
Device = Annotated[str, StringConstraints(pattern=r"^(cpu|cuda(:\d+)?)$")]


def _also(name: str, synonym: str) -> Any:
    return Field(default=None, validation_alias=AliasChoices(name, synonym))


class Grid(BaseModel):
    """A product: every combination of one value from each field. A single value is a list of one.

    `width` stands for equal `in_features` and `out_features`, which may be called channels too.
    Without `device` every device of the machine is meant, without `threads` as many as PyTorch
    would use. `kernel`, `stride`, `padding`, `groups` and `image` are for the operation conv2d,
    which needs the image; without `padding` it is the one that keeps its size.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    implementation: Many[Annotated[str, _one_of("implementation", known.implementations())]]
    operation: Annotated[Operation, _one_of("operation", get_args(Operation))] = "linear"
    width: Many[Size] | None = _also("width", "channels")
    in_features: Many[Size] | None = _also("in_features", "in_channels")
    out_features: Many[Size] | None = _also("out_features", "out_channels")
    kernel: Many[Size] | None = None
    stride: Many[Size] | None = None
    padding: Many[Annotated[StrictInt, Field(ge=0)]] | None = None
    groups: Many[Size] | None = None
    image: Many[Size] | None = None
    sparsity: Many[Annotated[float, Field(ge=0, lt=1, strict=True)]]
    topology: Many[Annotated[str, _one_of("topology", known.topologies())]] = ("random",)
    batch: Many[Size]
    device: Many[Device] | None = None
    dtype: Many[Annotated[str, _one_of("dtype", tuple(DTYPE_BYTES))]] = ("float32",)
    phase: Many[Annotated[Phase, _one_of("phase", get_args(Phase))]]
    threads: Many[Size] | None = None
    seed: Many[Annotated[StrictInt, Field(ge=0)]] = (0,)

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        given = (
            self.width is not None,
            self.in_features is not None,
            self.out_features is not None,
        )
        if given not in ((True, False, False), (False, True, True)):
            raise ValueError("give either width, or both in_features and out_features")
        windows = {name: getattr(self, name) for name in WINDOW}
        if self.operation == "linear" and any(windows.values()):
            named = ", ".join(name for name, values in windows.items() if values)
            raise ValueError(f'{named}: only with operation = "conv2d"')
        if self.operation == "conv2d" and self.image is None:
            raise ValueError("operation conv2d needs image, the height and width of its images")
        self.cases(("cpu",), (1,))  # raises where a window does not fit
        return self

    def cases(self, devices: Sequence[str], threads: Sequence[int]) -> list[Case]:
        """Return the product; `devices` and `threads` fill in where the grid names none."""
        if self.width is not None:
            shapes = [(width, width) for width in self.width]
        else:
            shapes = list(itertools.product(self.in_features or (), self.out_features or ()))
        names = ("implementation", "sparsity", "topology", "batch", "dtype", "phase")
        fields = {name: getattr(self, name) for name in (*names, "seed")}
        fields["device"] = self.device or devices
        fields["threads"] = self.threads or threads
        return [
            Case(
                in_features=shape[0],
                out_features=shape[1],
                operation=self.operation,
                **window,
                **dict(zip(fields, values, strict=True)),
            )
            for shape in shapes
            for window in self._windows()
            for values in itertools.product(*fields.values())
        ]

    def _windows(self) -> list[dict[str, Any]]:
        """Return what a case says of each window; of a linear layer nothing."""
        if self.operation == "linear":
            return [{}]
        given = (self.kernel or (3,), self.stride or (1,), self.groups or (1,), self.image or ())
        return [
            {
                "kernel": kernel,
                "stride": stride,
                "padding": same_padding(kernel) if padding is None else padding,
                "groups": groups,
                "image": image,
            }
            for kernel, stride, groups, image in itertools.product(*given)
            for padding in self.padding or (None,)
        ]


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

    def changed(self, *, threads: Sequence[int] | None, seed: int | None) -> Sweep:
        """Return the sweep with other threads and another seed in every grid, if not None."""
        changes: dict[str, Any] = {"threads": tuple(threads)} if threads else {}
        if seed is not None:
            changes["seed"] = (seed,)
        grids = [grid.model_copy(update=changes) for grid in (self.grid, *self.include)]
        return self.model_copy(update={"grid": grids[0], "include": tuple(grids[1:])})

    def settings(self, seed: int) -> Settings:
        """Return how the cases are to be measured, in an order drawn from `seed`."""
        names = ("rounds", "sample_s", "timeout_s", "precision")
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


def names() -> list[str]:
    """Return the names of the sweeps that the suite ships."""
    return files.names(ROOM)


def load(name: str) -> Sweep:
    """Read the sweep that the suite ships as `name`, or the file at the path `name`.

    Raises InputError that names the file, the field, its value and what is allowed.
    """
    file = files.find(name, ROOM)
    if file is None:
        raise InputError(f"no sweep {name!r}: give a path, or one of {', '.join(names())}")
    try:
        return Sweep.model_validate(file.content())
    except ValidationError as error:
        raise InputError("\n".join(file.explain(e, _fields_at) for e in error.errors())) from None


def _fields_at(place: files.Place) -> list[str]:
    return [*Grid.model_fields, *ALIASES] if place else list(Sweep.model_fields)


def _completed(grid: dict[str, Any], include: Any) -> Any:
    """Fill `include` up from `grid`; a shape given one way replaces one given the other."""
    if not isinstance(include, dict):
        return include
    shape = ALIASES.keys() | {"in_features", "out_features"}
    hidden = shape if shape & include.keys() else set()
    return {name: value for name, value in grid.items() if name not in hidden} | include


def _conditions(described: dict[str, Any]) -> list[Condition]:
    return [parse(_as_text(name, value)) for name, value in described.items()]


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, list):
        return f"{name}={','.join(str(v) for v in value)}"
    return f"{name}{value}" if re.match(r"[<>!=]", str(value)) else f"{name}={value}"

"""Which models a TOML file asks about, and how they are pruned and used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from sparsebench.cases import files
from sparsebench.errors import InputError
from sparsebench.models.records import ModelCase
from sparsebench.models.variants import Phase
from sparselayers.prune import Distribution

ROOM = "models"  # below experiments/

Sizes = tuple[Annotated[int, Field(ge=1)], ...]


class Model(BaseModel):
    """A model of the file: its name, the shape of its input, what differs in its configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[\w.]+:[\w.-]+$")]
    input: Sizes = ()
    config: dict[str, str | int | float | bool | list[int]] = {}


class Experiment(BaseModel):
    """A file: each of its models at each sparsity, distribution and phase."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: Annotated[str, StringConstraints(min_length=1)]
    sparsity: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = (0.9,)
    distribution: tuple[Distribution, ...] = ("uniform", "global")
    phase: tuple[Phase, ...] = get_args(Phase)
    models: Annotated[tuple[Model, ...], Field(min_length=1)]

    def cases(self, *, threads: int, seed: int = 0) -> list[ModelCase]:
        """Return what is to be measured, model by model."""
        return [
            ModelCase(
                model=model.name,
                input=model.input,
                config=tuple(sorted((n, _frozen(v)) for n, v in model.config.items())),
                sparsity=sparsity,
                distribution=distribution,
                phase=phase,
                threads=threads,
                seed=seed,
            )
            for model in self.models
            for sparsity in self.sparsity
            for distribution in self.distribution
            for phase in self.phase
        ]


def names() -> list[str]:
    """Return the names of the files that the suite ships."""
    return files.names(ROOM)


def load(name: str) -> Experiment:
    """Read the file that the suite ships as `name`, or the one at the path `name`.

    Raises InputError where there is neither, and with a line for everything wrong in it: file,
    line, field, value, and what is allowed.
    """
    file = files.find(name, ROOM)
    if file is None:
        raise InputError(f"{name}: no such file, nor one of {', '.join(names())}")
    try:
        return Experiment.model_validate(file.content())
    except ValidationError as error:
        lines = [file.explain(e, _fields) for e in error.errors()]
        raise InputError("\n".join(dict.fromkeys(lines))) from None


def folder(name: str) -> Path:
    """Return where the records of the file `name` are kept by default."""
    return Path("results") / f"models-{Path(name).stem}"


def _fields(place: Any) -> list[str]:
    return list((Model if "models" in place else Experiment).model_fields)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value

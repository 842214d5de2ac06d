"""What is asked to be trained: rows of an experiment, changed as options say, and their data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sparsebench.errors import InputError
from sparsebench.training import datasets, run
from sparsebench.training import experiment as experiments
from sparsebench.training.coded import CODED
from sparsebench.training.experiment import Experiment
from sparsebench.training.settings import KINDS, Setting, names_of

# Options that say what kind of network is trained.
_KIND = ("model", "topology", "rewiring", "activation")

# Options that are fields of a setting.
FIELDS = {name for kind in KINDS.values() for name in names_of(kind)}

# Options that change what is trained, so that a row with them gets a name of its own.
_NAMING = (
    "model", "topology", "rewiring", "activation", "output", "init", "schedule", "sparsity",
    "width", "update_every", "fraction", "stop_after", "batch", "lr", "momentum", "nesterov",
    "weight_decay", "processes", "images",
)  # fmt: skip


def found(name: str) -> Experiment:
    """Return the experiment of that name or path."""
    if (read := experiments.load(name)) is None:
        known = ", ".join((*experiments.names(), *CODED))
        raise InputError(f"unknown experiment {name!r}: choose one of {known}, or give a path")
    return read


def rows_of(
    asked: Experiment, rows: list[str] | None, given: dict[str, Any], *, timed: bool
) -> tuple[list[Setting], dict[str, Any]]:
    """Return the settings of the rows that were asked for, and what the options change of them."""
    every = {setting.row: setting for setting in (*asked.rows, *(asked.timed if timed else ()))}
    if unknown := [name for name in rows or [] if name not in every]:
        raise InputError(f"unknown row {unknown[0]!r} of {asked.name}: choose from {list(every)}")
    changes = {
        name: value
        for name, value in given.items()
        if value is not None and name not in ("experiment", "row", "seed", "dataset")
    }
    kind: dict[str, Any] = {n: changes[n] for n in _KIND if n in changes}
    return [every[name] for name in rows] if rows else _like(list(every.values()), kind), changes


def changed(chosen: list[Setting], changes: dict[str, Any]) -> list[Setting]:
    """Return the settings of rows as the options change them."""
    try:
        return [_changed(setting, changes) for setting in chosen]
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        raise InputError(f"--{name.replace('_', '-')} {rest}") from error


def data_of(
    asked: Experiment, dataset: str | None, data_dir: Path | None, settings: list[Setting]
) -> datasets.Data:
    """Return the data, those of the experiment if no others are named."""
    chosen = dataset or asked.dataset
    if datasets.shape_of(chosen) != (shape := datasets.shape_of(asked.dataset)):
        like = "images like those" if shape else "text like that"
        raise InputError(f"--dataset {chosen}: {asked.name} is made for {like} of {asked.dataset}")
    try:
        loaded = datasets.load(chosen, data_dir=data_dir)
        for setting in settings:  # leaves nothing to train on in a set that is too small
            run.data_of(replace(setting, device="cpu"), loaded)
        return loaded
    except (ValueError, FileNotFoundError) as error:
        raise InputError(str(error)) from error


def _like(every: list[Setting], kind: dict[str, Any]) -> list[Setting]:
    """Return all rows; or, where the kind of network is given, the one row nearest to it."""
    if not kind:
        return every
    return [max(every, key=lambda s: sum(getattr(s, n, None) == v for n, v in kind.items()))]


def _changed(setting: Setting, changes: dict[str, Any]) -> Setting:
    for name in changes.keys() - set(names_of(type(setting))):
        raise ValueError(f"{name} is no option of {setting.network}; got {changes[name]!r}")
    named = {
        name: changes[name]
        for name in _NAMING
        if name in changes and changes[name] != getattr(setting, name)
    }
    row = ", ".join((setting.row, *(f"{name} {value}" for name, value in named.items())))
    return replace(setting, **changes, row=row)

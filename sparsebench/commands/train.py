"""`sparsebench train EXPERIMENT`: every experiment under one command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

from sparsebench.errors import FAILED, WRONG_INPUT, InputError
from sparsebench.measuring import machine
from sparsebench.training import checkpoint, datasets, series
from sparsebench.training import experiment as experiments
from sparsebench.training.checkpoint import CheckpointError
from sparsebench.training.cifar.schedule import to_time
from sparsebench.training.coded import CODED
from sparsebench.training.experiment import Experiment
from sparsebench.training.loop import Show
from sparsebench.training.processes import ProcessError, Processes, joined
from sparsebench.training.progress import Display, title
from sparsebench.training.proportion import in_proportion
from sparsebench.training.records import FILE_NAME, TrainingRecord
from sparsebench.training.settings import KINDS, GPTSetting, MLPSetting, Setting, names_of
from sparsebench.training.step_times import time_steps
from sparsebench.training.tensorboard import logged

console = Console()
errors = Console(stderr=True)

CHOICES = MLPSetting.CHOICES

# Options that say what kind of network is trained.
_KIND = ("model", "topology", "rewiring", "activation")

# Options that are fields of a setting.
_FIELDS = {name for kind in KINDS.values() for name in names_of(kind)}

# Options that change what is trained, so that a row with them gets a name of its own.
_NAMING = (
    "model", "topology", "rewiring", "activation", "output", "init", "schedule", "sparsity",
    "width", "update_every", "fraction", "stop_after", "batch", "lr", "momentum", "nesterov",
    "weight_decay", "processes", "images",
)  # fmt: skip


def train(
    experiment: Annotated[
        str,
        typer.Argument(help="One of those that --list prints, or a TOML file of your own."),
    ] = "",
    row: Annotated[
        list[str] | None, typer.Option(help="Only this row of the experiment; may be repeated.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List experiments and rows.")] = False,
    model: Annotated[str | None, typer.Option(help=", ".join(CHOICES["model"]))] = None,
    topology: Annotated[str | None, typer.Option(help=", ".join(CHOICES["topology"]))] = None,
    rewiring: Annotated[str | None, typer.Option(help=", ".join(CHOICES["rewiring"]))] = None,
    update_every: Annotated[int | None, typer.Option(help="Steps between rewirings.")] = None,
    stop_after: Annotated[int | None, typer.Option(help="Steps of rewiring.")] = None,
    fraction: Annotated[
        float | None, typer.Option(help="Share of connections moved by the first rewiring.")
    ] = None,
    sparsity: Annotated[float | None, typer.Option(help="Of each sparse layer.")] = None,
    width: Annotated[int | None, typer.Option(help="Hidden units.")] = None,
    activation: Annotated[str | None, typer.Option(help=", ".join(CHOICES["activation"]))] = None,
    output: Annotated[str | None, typer.Option(help=", ".join(CHOICES["output"]))] = None,
    init: Annotated[str | None, typer.Option(help=", ".join(CHOICES["init"]))] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Schedules that end before the last one end at the same share of them."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Train each row so long, tests not counted; of gpt.")
    ] = None,
    batch: Annotated[int | None, typer.Option()] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    momentum: Annotated[float | None, typer.Option()] = None,
    nesterov: Annotated[bool | None, typer.Option()] = None,
    weight_decay: Annotated[float | None, typer.Option()] = None,
    schedule: Annotated[str | None, typer.Option(help=", ".join(CHOICES["schedule"]))] = None,
    images: Annotated[
        int | None, typer.Option(help="Train on so many images, the first ones; 0: on all.")
    ] = None,
    held_out: Annotated[
        int | None, typer.Option(help="Training images to test on in place of the test set.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help=", ".join(datasets.NAMES)),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the dataset's folder is.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Only this seed.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds 0 to N − 1.")] = None,
    device: Annotated[str, typer.Option(help="cpu, or a GPU such as cuda.")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the records; results/EXPERIMENT by default.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on, or train everything again.")
    ] = True,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Train what diverged or failed again.")
    ] = False,
    time_only: Annotated[
        bool, typer.Option("--time-only", help="Only time some steps of every row, in turn.")
    ] = False,
    steps: Annotated[
        int | None, typer.Option(min=10, help="How many steps --time-only times; one epoch.")
    ] = None,
    timed: Annotated[
        bool,
        typer.Option("--timed/--untimed", help="Record times; not where other work is running."),
    ] = True,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Log every run for TensorBoard below this folder, too.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the tables as JSON, or what --list lists.")
    ] = False,
) -> None:
    """Train the networks of an experiment, and record accuracy or perplexity, time and memory.

    What has a record is skipped, and what was interrupted goes on from its last epoch.
    Started by torchrun, all its processes train each network together, on equal parts of every
    batch: torchrun --nproc-per-node 2 -m sparsebench train mnist
    """
    given = {k: v for k, v in locals().items() if k in _FIELDS}
    if list_ or not experiment:
        _list([experiment] if experiment else [*experiments.names(), *CODED], as_json=as_json)
        return
    machine.check_device(device)
    from sparsebench.training.views import report  # pandas and matplotlib: nothing else needs them

    talk = errors if as_json else console  # JSON has the output to itself
    show = report.print_json if as_json else report.show
    threads = threads or machine.default_threads()
    with joined(device) as processes, _one_voice(processes):
        asked = None if experiment in CODED else _found(experiment)
        folder = out or Path("results") / (asked.name if asked else experiment)
        if processes.size > 1 and (asked is None or time_only):
            what = "--time-only" if time_only else experiment
            raise InputError(f"{what} is for one process: start it without torchrun")
        if asked is None:
            CODED[experiment].run(
                folder, talk, seed=seed or 0, device=device, threads=threads, data_dir=data_dir
            )
        else:
            given |= {"device": device, "threads": threads, "processes": processes.size}
            chosen_rows, changes = _rows(asked, row, given, timed=time_only)
            settings = _settings(chosen_rows, changes)
            if not timed and any(isinstance(s, GPTSetting) and s.seconds for s in settings):
                raise InputError("--untimed: rows that train for so many seconds are timed")
            loaded = processes.together(lambda: _load(asked, dataset, data_dir, settings))
            if loaded.note and processes.first:
                digits = loaded.name == datasets.SUBSET_NAME
                head = "EMBEDDED SUBSET, NOT THE WHOLE MNIST" if digits else "NOT ALL OF CIFAR-10"
                errors.print(Panel(Text(loaded.note), title=head), style="bold red")
            settings = [replace(setting, dataset=loaded.name) for setting in settings]
            settings, moved = in_proportion(settings, chosen_rows, loaded.sizes[0], given=changes)
            if moved:
                ends = "schedules end at the same share of the training"
                talk.print(f"{ends}: {', '.join(moved)}", highlight=False)
            chosen = [seed] if seed is not None else range(seeds or asked.seeds)
            settings = series.over_seeds(settings, chosen)
            if time_only:
                settings = to_time(settings)
                with talk.status(f"timing {len(settings)} rows in turn"):
                    for record in time_steps(settings, loaded, folder, steps=steps):
                        _say(record, talk)
            else:
                _train(
                    settings, loaded, folder, tensorboard, processes,
                    resume=resume, retry_failed=retry_failed, timed=timed, talk=talk,
                )  # fmt: skip
        if processes.first:
            show(folder, console)


@contextmanager
def _one_voice(processes: Processes) -> Iterator[None]:
    """Of several processes let the first alone speak, but for what went wrong in another alone."""
    console.quiet = not processes.first
    try:
        yield
    except InputError:
        if processes.first:
            raise
        raise typer.Exit(WRONG_INPUT) from None  # all found it, and the first says so
    except ProcessError as error:
        errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(FAILED) from error
    finally:
        console.quiet = False


def _found(name: str) -> Experiment:
    """Return the experiment of that name or path."""
    if (found := experiments.load(name)) is None:
        known = ", ".join((*experiments.names(), *CODED))
        raise InputError(f"unknown experiment {name!r}: choose one of {known}, or give a path")
    return found


def _load(
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
            series.data_of(replace(setting, device="cpu"), loaded)
        return loaded
    except (ValueError, FileNotFoundError) as error:
        raise InputError(str(error)) from error


def _rows(
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


def _settings(chosen: list[Setting], changes: dict[str, Any]) -> list[Setting]:
    """Return the settings of rows as the options change them."""
    try:
        return [_changed(setting, changes) for setting in chosen]
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        raise InputError(f"--{name.replace('_', '-')} {rest}") from error


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


def _train(
    settings: list[Setting],
    loaded: datasets.Data,
    folder: Path,
    tensorboard: Path | None,
    processes: Processes,
    *,
    resume: bool,
    retry_failed: bool,
    timed: bool,
    talk: Console,
) -> None:
    """Train `settings` under a progress bar; on Ctrl-C say how to go on and leave."""
    if not resume:
        processes.once(lambda: _forget(settings, folder))
    pending = processes.of_first(
        lambda: series.pending(settings, folder, retry_failed=retry_failed)
    )
    if skipped := len(settings) - len(pending):
        talk.print(f"{skipped} of {len(settings)} runs have a record in {folder} already")
    pending = series.with_starts(pending, settings, folder)
    show: AbstractContextManager[Show] = Display(talk, pending)
    if tensorboard is not None and processes.first:
        show = logged(show, tensorboard)
    try:
        for record in series.run(pending, loaded, folder, show, timed=timed, processes=processes):
            _say(record, talk)
    except CheckpointError as error:
        raise InputError(str(error)) from error
    except BaseException as error:
        if not isinstance(error, Exception) and processes.first:  # a signal
            errors.print(
                f"interrupted: finished runs are in {folder / FILE_NAME}, the one under way has a "
                "checkpoint of its last whole epoch; the same command again goes on",
                highlight=False,
                soft_wrap=True,
            )
        raise


def _forget(settings: list[Setting], folder: Path) -> None:
    for setting in settings:
        checkpoint.remove(checkpoint.path_of(folder, setting))
    series.drop(settings, folder)


def _say(record: TrainingRecord, talk: Console) -> None:
    if record.status != "ok":
        talk.print(f"[red]{record.status}:[/] {title(record.setting)}: {record.message}")


def _list(names: list[str], *, as_json: bool) -> None:
    found = {name: CODED[name] if name in CODED else _found(name) for name in names}
    rows = {
        name: [setting.row for setting in e.rows] if isinstance(e, Experiment) else []
        for name, e in found.items()
    }
    if as_json:
        plain = {name: {"question": e.question, "rows": rows[name]} for name, e in found.items()}
        typer.echo(json.dumps(plain))
        return
    for name, each in found.items():
        console.print(f"[bold]{escape(name)}[/]: {escape(each.question)}", highlight=False)
        for row in rows[name]:
            console.print(f"    {row}", highlight=False, markup=False)

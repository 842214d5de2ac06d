"""`sparsebench train EXPERIMENT`: every experiment under one command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

from sparsebench.commands.train.asked import FIELDS, changed, data_of, found, rows_of
from sparsebench.errors import FAILED, WRONG_INPUT, InputError
from sparsebench.measuring import machine
from sparsebench.training import checkpoint, datasets, run
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
from sparsebench.training.settings import GPTSetting, MLPSetting, Setting
from sparsebench.training.step_times import time_steps
from sparsebench.training.tensorboard import logged

console = Console()
errors = Console(stderr=True)

CHOICES = MLPSetting.CHOICES


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
    given = {k: v for k, v in locals().items() if k in FIELDS}
    if list_ or not experiment:
        if experiment and experiment not in CODED:  # options that are wrong are wrong here too
            changed(*rows_of(found(experiment), row, given, timed=time_only))
        _list([experiment] if experiment else [*experiments.names(), *CODED], as_json=as_json)
        return
    machine.check_device(device)
    # Nothing else needs them.
    from sparsebench.training.views import folder as views  # pandas and matplotlib

    talk = errors if as_json else console  # JSON has the output to itself
    show = views.print_json if as_json else views.show
    threads = threads or machine.default_threads()
    with joined(device) as processes, _one_voice(processes):
        asked = None if experiment in CODED else found(experiment)
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
            chosen_rows, changes = rows_of(asked, row, given, timed=time_only)
            settings = changed(chosen_rows, changes)
            if not timed and any(isinstance(s, GPTSetting) and s.seconds for s in settings):
                raise InputError("--untimed: rows that train for so many seconds are timed")
            loaded = processes.together(lambda: data_of(asked, dataset, data_dir, settings))
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
            settings = run.over_seeds(settings, chosen)
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
    pending = processes.of_first(lambda: run.pending(settings, folder, retry_failed=retry_failed))
    if skipped := len(settings) - len(pending):
        talk.print(f"{skipped} of {len(settings)} runs have a record in {folder} already")
    pending = run.with_starts(pending, settings, folder)
    show: AbstractContextManager[Show] = Display(talk, pending)
    if tensorboard is not None and processes.first:
        show = logged(show, tensorboard)
    try:
        for record in run.run(pending, loaded, folder, show, timed=timed, processes=processes):
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
    run.drop(settings, folder)


def _say(record: TrainingRecord, talk: Console) -> None:
    if record.status != "ok":
        talk.print(f"[red]{record.status}:[/] {title(record.setting)}: {record.message}")


def _list(names: list[str], *, as_json: bool) -> None:
    every = {name: CODED[name] if name in CODED else found(name) for name in names}
    rows = {
        name: [setting.row for setting in e.rows] if isinstance(e, Experiment) else []
        for name, e in every.items()
    }
    if as_json:
        plain = {name: {"question": e.question, "rows": rows[name]} for name, e in every.items()}
        typer.echo(json.dumps(plain))
        return
    for name, each in every.items():
        console.print(f"[bold]{escape(name)}[/]: {escape(each.question)}", highlight=False)
        for row in rows[name]:
            console.print(f"    {row}", highlight=False, markup=False)

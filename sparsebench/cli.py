"""The `sparsebench` command."""

from __future__ import annotations

import importlib
import json
import signal
import sys
import time
import warnings
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.cli import train
from layers.backends import BACKENDS
from sparsebench import filters, isolation, machine, records, runner, sweep
from sparsebench.case import Case
from sparsebench.errors import InputError, StoreError
from sparsebench.estimate import Estimator
from sparsebench.implementations import IMPLEMENTATIONS, refusal
from sparsebench.progress import Display, duration, title
from sparsebench.records import Record, Store
from sparsebench.whole_model import sparsify

CANNOT_WRITE, WRONG_INPUT = 1, 2
_QUIET = 0.2  # the fraction of all CPUs that others may take without disturbing

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure when sparse layers pay, in time and in memory, on the machine at hand.",
    epilog="Exit codes: 0 done; 1 records cannot be written; 2 wrong input, nothing was measured; "
    "130 interrupted (143 by SIGTERM), what was measured is kept.",
)
console = Console()
errors = Console(stderr=True)


@app.callback()
def _before_every_command() -> None:
    if missing := BACKENDS["native"].unavailable():
        errors.print(f"[yellow]the fast kernels are missing:[/] {escape(missing)}", highlight=False)
    try:
        machine.layers_backend()
    except ValueError as error:
        raise InputError(str(error)) from None


@app.command()
def run(
    name: Annotated[
        str, typer.Argument(metavar="SWEEP", help="A sweep's name, or a path.")
    ] = "default",
    condition: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            "-f",
            help="Only cases with FIELD=VALUE[,VALUE], FIELD!=VALUE, or FIELD>=VALUE (also < <= >) "
            "for any field of a case, or width. May be repeated: all have to hold.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cases and estimate the time; no more.")
    ] = False,
    budget: Annotated[
        float | None,
        typer.Option(min=0, metavar="MINUTES", help="Begin no new problem after this time."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume/--fresh", help="Measure what has no record, or everything again."),
    ] = True,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Measure cases without a time again.")
    ] = False,
    threads: Annotated[
        list[int] | None, typer.Option(min=1, help="CPU threads; may be repeated.")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(help="Only this device; may be repeated. Default: every one found."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder of the records; results/SWEEP by default.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the order, the connections and all numbers.")
    ] = None,
) -> None:
    """Measure the cases of a sweep, and resume where an earlier run stopped."""
    asked = sweep.load(name)
    conditions = [filters.parse(text) for text in condition or []]
    cases = [
        case
        for case in asked.changed(threads=threads, seed=seed).cases(
            _devices(device), threads or [machine.default_threads()]
        )
        if (not device or case.device in device) and all(holds(case) for holds in conditions)
    ]
    if not cases:
        raise InputError(f"no case of {name} is left by {' and '.join(condition or ['--device'])}")
    folder = out or Path("results") / Path(name).stem
    settings = asked.settings(seed or 0)
    if dry_run:
        _list_cases(cases, Estimator(settings, _load(folder)))
        return
    with Store(folder) as store:
        earlier = _load(folder)
        mine = {r.case: r for r in earlier if r.machine.get("id") == machine.fingerprint()["id"]}
        if not resume:
            store.drop({mine[case].identity for case in cases if case in mine})
            mine = {}
        pending = [case for case in cases if _to_measure(mine.get(case), retry_failed)]
        if skipped := len(cases) - len(pending):
            console.print(f"{skipped} of {len(cases)} cases have a record in {folder} already")
        deadline = None if budget is None else time.monotonic() + 60 * budget
        _measure(pending, store, settings, Estimator(settings, earlier), deadline)
    if found := _load(folder):
        _show(found, folder)


@app.command("list")
def list_() -> None:
    """List implementations, sweeps and metrics."""
    table = Table("implementation", "what it is", "available", title="Implementations")
    for name, implementation in IMPLEMENTATIONS.items():
        reason = implementation.unavailable()
        available = f"[yellow]no: {escape(reason)}[/]" if reason else "[green]yes[/]"
        table.add_row(name, (type(implementation).__doc__ or "").splitlines()[0], available)
    console.print(table)
    table = Table("sweep", "what it asks", title="Sweeps")
    for name in sweep.names():
        table.add_row(name, sweep.load(name).description)
    console.print(table)
    if metrics := _optional("metrics"):
        table = Table("metric", "unit", "what it is", title="Metrics")
        for metric in metrics.METRICS.values():
            table.add_row(metric.name, metric.unit, metric.description)
        console.print(table)


@app.command()
def report(
    source: Annotated[Path, typer.Argument(help="Records: a file, or a folder that holds some.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write; beside each file of records by default.")
    ] = None,
) -> None:
    """Write tables and plots from records; measure nothing."""
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    files = [source] if source.is_file() else sorted(source.rglob(records.FILE_NAME))
    from experiments import report as trained  # pandas and matplotlib, which no other command loads

    folders = trained.folders(source)
    if not files and not folders:
        raise InputError(f"{source}: holds no {records.FILE_NAME}, and no records of training")
    for folder in folders:
        trained.show(folder, console, out=out)
    for file in files:
        found = _load(file)
        if not found:
            raise InputError(f"{file}: holds no record")
        _show(found, out or file.parent)


app.command("train")(train)
app.command("sparsify")(sparsify)


@app.command()
def env() -> None:
    """Print what is recorded of this machine, and which kernels of `layers` run, and why."""
    console.print_json(json.dumps(machine.fingerprint()))
    for name, backend in BACKENDS.items():
        missing = backend.unavailable()
        console.print(f"backend {name}: {f'not available: {missing}' if missing else 'available'}")
    chosen = machine.layers_backend()
    why = f", {chosen['isa']}: {chosen['isa_reason']}" if "isa" in chosen else ""
    console.print(f"float32 on the CPU runs on: {chosen['backend']}{why}", soft_wrap=True)


def main() -> None:
    """Run the command line."""
    warnings.showwarning = _show_warning
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        app()
    except InputError as error:
        _fail(str(error), WRONG_INPUT)
    except StoreError as error:
        _fail(str(error), CANNOT_WRITE)
    except OSError as error:  # a disk that is full while tables and plots are written, above all
        _fail(f"{error.filename or 'output'}: {error.strerror}", CANNOT_WRITE)
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.signal)


class Interrupted(BaseException):
    """A signal asks to stop: Ctrl-C, or an end of the session."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


def _interrupt(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: what follows is cleaning up
    raise Interrupted(number)


def _measure(
    cases: list[Case],
    store: Store,
    settings: runner.Settings,
    estimate: Estimator,
    deadline: float | None,
) -> None:
    """Measure `cases` under a progress bar; on Ctrl-C say how to go on and leave."""
    if cases and (busy := machine.busy()) > _QUIET:
        warnings.warn(
            f"other programs take {busy:.0%} of the CPU: times will be wrong", stacklevel=1
        )
    for device, dtype, threads in sorted({(c.device, c.dtype, c.threads) for c in cases}):
        _roofline(device, dtype, threads)  # at the start, not between the sides of a ratio
    measured = 0
    with Display(console, cases, estimate) as display:
        try:
            for record in runner.run(
                cases, store, settings, machine=_described, under_way=display.under_way,
                deadline=deadline,
            ):  # fmt: skip
                display.done(record)
                measured += 1
        except Interrupted:
            errors.print(
                f"interrupted: {measured} of {len(cases)} cases were measured and are in "
                f"{store.path}, what was under way is dropped; resume with the same command",
                highlight=False,
                soft_wrap=True,
            )
            raise
    if measured < len(cases):
        console.print(
            f"the budget is used up: {len(cases) - measured} of {len(cases)} cases are left; "
            "the same command again goes on"
        )


def _described(case: Case) -> dict[str, Any]:
    return machine.fingerprint() | {"roofline": _roofline(case.device, case.dtype, case.threads)}


@cache
def _roofline(device: str, dtype: str, threads: int) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = isolation.call(machine.probe, device, dtype, threads, timeout_s=60)
    except isolation.Failure as failure:
        return {"failed": str(failure)}
    return answer


def _to_measure(record: Record | None, retry_failed: bool) -> bool:
    if record is None or (retry_failed and record.status != "ok"):
        return True
    # What was refused is measured once it can be: after an installation, or with more memory.
    return record.status == "unsupported" and refusal(record.case) is None


def _devices(asked: list[str] | None) -> list[str]:
    found = machine.devices()
    for device in asked or []:
        if device not in found:
            raise InputError(f"--device {device}: not found here: choose from {', '.join(found)}")
    return asked or found


def _list_cases(cases: list[Case], estimate: Estimator) -> None:
    for case in runner.ordered(cases, 0):
        reason = refusal(case)
        seconds = f"{estimate(case):5.1f} s" if not reason else f"unsupported: {reason}"
        line = f"{title(case)}  {seconds}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"{len(cases)} cases, about {duration(sum(map(estimate, cases)))}")


def _load(path: Path) -> list[Record]:
    return records.load(path) if path.exists() else []


def _show(found: list[Record], folder: Path) -> None:
    """Write tables and plots, and end with the table."""
    if report := _optional("report"):
        report.write(found, folder)
    if tables := _optional("tables"):
        console.print(tables.terminal(found))


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(f"sparsebench.{name}")
    except ModuleNotFoundError:
        return None


def _fail(message: str, code: int) -> None:
    errors.print(f"[red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(code)


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    errors.print(f"[yellow]warning:[/] {escape(str(message))}", highlight=False, soft_wrap=True)

"""`sparsebench run`: measure the cases of a sweep."""

from __future__ import annotations

import time
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer

from layers import accelerator
from sparsebench import filters, hostlock, isolation, machine, runner, sweep
from sparsebench.case import Case
from sparsebench.commands.report import load, show
from sparsebench.description import described, roofline
from sparsebench.errors import InputError
from sparsebench.estimate import Estimator
from sparsebench.implementations import refusal
from sparsebench.interruption import Interrupted
from sparsebench.output import console, errors
from sparsebench.progress import Display, duration, title
from sparsebench.records import Record, Store

_QUIET = 0.2  # the fraction of all CPUs that others may take without disturbing


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
    reasons = {d: accelerator.problem(d) for d in dict.fromkeys(case.device for case in cases)}
    if all(reasons.values()) and not dry_run:
        raise InputError(f"no case of {name} can be measured: {next(iter(reasons.values()))}")
    folder = out or Path("results") / Path(name).stem
    settings = asked.settings(seed or 0)
    if dry_run:
        _list_cases(cases, Estimator(settings, load(folder)))
        return
    deadline = None if budget is None else time.monotonic() + 60 * budget
    measure(cases, folder, settings, resume=resume, retry_failed=retry_failed, deadline=deadline)
    if found := load(folder):
        isolation.end()  # its memory is free for drawing
        try:
            show(found, folder)
        except Interrupted:
            errors.print(
                f"interrupted while tables and plots were drawn: all records are in {folder}; "
                f"draw them with: sparsebench report {folder}",
                highlight=False,
                soft_wrap=True,
            )
            raise


def measure(
    cases: list[Case],
    folder: Path,
    settings: runner.Settings,
    *,
    resume: bool = True,
    retry_failed: bool = False,
    deadline: float | None = None,
) -> None:
    """Measure those of `cases` of which `folder` has no record; without `resume` all of them."""
    with Store(folder) as store:
        earlier = load(folder)
        mine = {r.case: r for r in earlier if r.machine.get("id") == machine.fingerprint()["id"]}
        if not resume:
            store.drop({mine[case].identity for case in cases if case in mine})
            mine = {}
        pending = [case for case in cases if _to_measure(mine.get(case), retry_failed)]
        if skipped := len(cases) - len(pending):
            console.print(f"{skipped} of {len(cases)} cases have a record in {folder} already")
        _measure(pending, store, settings, Estimator(settings, earlier), deadline)


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
    with Display(console, cases, estimate) as display:

        def alone(_: Case | None = None) -> AbstractContextManager[None]:
            return hostlock.measuring(waiting=display.waiting)

        try:
            with alone():  # at the start, not between the sides of a ratio
                for device, dtype, threads in sorted(
                    {(c.device, c.dtype, c.threads) for c in cases}
                ):
                    roofline(device, dtype, threads)
            for record in runner.run(
                cases, store, settings, machine=described, under_way=display.under_way,
                deadline=deadline, hold=alone,
            ):  # fmt: skip
                display.done(record)
        except Interrupted:
            errors.print(
                f"interrupted: {store.appended} of {len(cases)} cases were measured and are in "
                f"{store.path}, the one under way is dropped; resume with the same command",
                highlight=False,
                soft_wrap=True,
            )
            raise
    if left := len(cases) - store.appended:
        console.print(
            f"the budget is used up: {left} of {len(cases)} cases are left; "
            "the same command again goes on"
        )


def _to_measure(record: Record | None, retry_failed: bool) -> bool:
    if record is None or (retry_failed and record.status != "ok"):
        return True
    # What was refused is measured once it can be: after an installation, or with more memory.
    return record.status == "unsupported" and refusal(record.case) is None


def _devices(asked: list[str] | None) -> list[str]:
    for device in asked or []:
        machine.check_device(device)
    return asked or machine.devices()


def _list_cases(cases: list[Case], estimate: Estimator) -> None:
    for case in runner.ordered(cases, 0):
        reason = refusal(case)
        seconds = f"{estimate(case):5.1f} s" if not reason else f"unsupported: {reason}"
        line = f"{title(case)}  {seconds}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"{len(cases)} cases, about {duration(sum(map(estimate, cases)))}")

"""`sparsebench check`: whether a change made the layers slower."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from sparsebench import output
from sparsebench.commands import counts, sides
from sparsebench.errors import CANNOT_BUILD, FOUND_WHAT_FAILS, InputError
from sparsebench.measuring import hostlock, machine
from sparsebench.output import console, errors
from sparsebench.regression import (
    builds,
    instructions,
    judging,
    results,
    turns,
    views,
    wires,
    yardstick,
)
from sparsebench.regression.results import Check, Checks, Commit, WireCheck, WireChecks
from sparselayers.backends import BACKENDS

_UPDATES = 3  # processes, of which the wires are the median


def check(
    base: Annotated[
        str | None,
        typer.Option(
            metavar="REV", help="What to compare with; by default the commit before the changes."
        ),
    ] = None,
    trip_wires: Annotated[
        bool, typer.Option("--trip-wires", help="Only ratios that hold on any machine; seconds.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update-trip-wires", help="Measure the trip wires and write them.")
    ] = False,
    because: Annotated[
        str | None, typer.Option(help="Why the trip wires change; goes into their file.")
    ] = None,
    by_instructions: Annotated[
        bool,
        typer.Option(
            "--instructions",
            help="Compare how many instructions the kernels execute: no noise; needs valgrind.",
        ),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Only workloads like training-*; may be repeated."),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=judging.LEAST_PROCESSES, help="Of each side.")
    ] = judging.LEAST_PROCESSES,
    seconds: Annotated[
        float, typer.Option(min=0.001, help="For each workload in a process.")
    ] = 0.15,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="How much slower is still the same, or how many more instructions.",
            show_default=f"{judging.TOLERANCE:g}, of instructions {instructions.TOLERANCE:g}",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of the results.")] = results.FOLDER,
    markdown: Annotated[
        Path | None, typer.Option(help="Write verdict and table there, as Markdown.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Compare this working tree's speed and memory with an earlier revision's, in turn.

    Exit codes: 0 not slower, or there is nothing to compare with; 3 a side cannot be built or
    does not run; 4 something is slower by more than the tolerance, or executes more instructions,
    or a trip wire was tripped.
    """
    if because and not update:
        raise InputError("--because goes with --update-trip-wires")
    if by_instructions:
        if trip_wires or update:
            raise InputError("--instructions compares with a base: trip wires are checked alone")
        counts.check_instructions(
            base, only or (), out, markdown, as_json=as_json,
            tolerance=instructions.TOLERANCE if tolerance is None else tolerance,
        )  # fmt: skip
        return
    names = _chosen(only)
    if update:
        _update(because, names, as_json=as_json)
    elif trip_wires:
        _wires(names, seconds, out, as_json=as_json)
    else:
        _against_base(
            base, names, out, markdown, as_json=as_json,
            processes=processes, seconds=seconds,
            tolerance=judging.TOLERANCE if tolerance is None else tolerance,
        )  # fmt: skip


def _chosen(patterns: Sequence[str] | None) -> list[str]:
    names = sides.like(yardstick.WORKLOADS, patterns)
    if not names:
        raise InputError(
            f"--only {' '.join(patterns or [])}: no such workload: choose from "
            f"{', '.join(yardstick.WORKLOADS)}"
        )
    return names


def _against_base(
    base: str | None,
    names: Sequence[str],
    out: Path,
    markdown: Path | None,
    *,
    as_json: bool,
    processes: int,
    seconds: float,
    tolerance: float,
) -> None:
    compared = sides.of(base, markdown, as_json=as_json)
    if compared is None:
        return
    start, started = time.monotonic(), sides.now()
    with compared.built() as (folder, first, second):
        pythons = {"base": first.python, "head": second.python}
        probe = turns.probe_with(pythons, folder, seconds)
        with hostlock.measuring(waiting=sides.say):
            findings = judging.judged(
                probe, names, processes=processes, tolerance=tolerance, say=sides.say
            )
    found = Check(
        started=started,
        wall_s=round(time.monotonic() - start, 1),
        base=Commit(**vars(compared.base)),
        head=Commit(**vars(compared.head)),
        tolerance=tolerance,
        settings={"processes": processes, "seconds": seconds},
        findings=findings,
        machine=machine.fingerprint(),
    )
    with Checks(out) as store:
        store.append(found)
    sides.tell(found, views, markdown, as_json=as_json)


def _wires(names: Sequence[str], seconds: float, out: Path, *, as_json: bool) -> None:
    path = wires.file()
    file = wires.load(path)
    chosen = [wire for wire in file.wires if wire.workload in names]
    if not chosen:
        raise InputError(f"{path}: has no wire for {', '.join(names)}")
    _need_kernels()
    start, started = time.monotonic(), sides.now()
    with hostlock.measuring(waiting=sides.say):
        findings = wires.judged(chosen, lambda asked: _measured(asked, seconds))
    found = WireCheck(
        started=started,
        findings=findings,
        wall_s=round(time.monotonic() - start, 1),
        head=_commit(),
        machine=machine.fingerprint(),
    )
    with WireChecks(out) as store:
        store.append(found)
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        output.show(views.wires(found.findings))
    if not all(finding.held for finding in found.findings):
        errors.print(
            "If that is right, say so: sparsebench check --update-trip-wires --because '…'",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(FOUND_WHAT_FAILS)
    if not as_json:
        console.print(f"{len(chosen)} trip wires hold.", highlight=False)


def _update(because: str | None, names: Sequence[str], *, as_json: bool) -> None:
    if not because:
        raise InputError("--update-trip-wires needs --because: say what changed, and why")
    _need_kernels()
    path = wires.file(shipped=False)
    old = wires.load(path) if path.exists() else wires.WireFile((), ())
    rivals = [name for name in names if yardstick.WORKLOADS[name].rivals]
    with hostlock.measuring(waiting=sides.say):
        new = wires.measured(_measured(rivals, 0.15) for _ in range(_UPDATES))
    kept = tuple(wire for wire in old.wires if wire.workload not in rivals)
    commit = _commit()
    change = wires.Change(
        date=sides.now()[:10],
        commit="" if commit is None else views.named(commit),
        cpu=str(machine.fingerprint()["cpu"]["model"]),
        because=because,
    )
    wires.write(path, wires.WireFile((*old.changes, change), (*kept, *new)))
    if as_json:
        pairs = wires.explained(old.wires, (*kept, *new))
        plain = [[None if wire is None else vars(wire) for wire in pair] for pair in pairs]
        typer.echo(json.dumps([{"was": was, "is": now} for was, now in plain]))
        return
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for title in ("workload", "", "over", "was", "is", "limit", "new"):
        shown.add_column(title, no_wrap=title != "workload", overflow="ellipsis")
    for before, after in wires.explained(old.wires, (*kept, *new)):
        one = after or before
        assert one is not None
        numbers = [
            "" if wire is None else f"{getattr(wire, field):g}"
            for field in ("measured", "limit")
            for wire in (before, after)
        ]
        shown.add_row(one.workload, one.measure, one.against, *numbers)
    output.show(shown)
    console.print(f"{path}: written, because: {because}", highlight=False, markup=False)


def _measured(names: Sequence[str], seconds: float) -> Mapping[str, Any]:
    """Measure workloads and their rivals in a fresh process of this environment."""
    script = Path(yardstick.__file__)
    done = subprocess.run(
        [sys.executable, str(script), "--rivals", "--seconds", str(seconds), *names],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        end = "\n".join(done.stderr.strip().splitlines()[-15:])
        errors.print(f"[red]error:[/] the workloads do not run:\n{end}", highlight=False)
        raise typer.Exit(CANNOT_BUILD)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _need_kernels() -> None:
    if missing := BACKENDS["native"].unavailable():
        errors.print("[red]error:[/] the trip wires are those of the fast kernels: ", end="")
        errors.print(missing, highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(CANNOT_BUILD)


def _commit() -> Commit | None:
    try:
        return Commit(**vars(builds.head_of(builds.repository(Path.cwd()))))
    except InputError:
        return None

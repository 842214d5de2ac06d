"""`sparsebench check --trip-wires`, and `--update-trip-wires`: ratios that hold on any machine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.table import Table

from sparsebench import output
from sparsebench.commands.check import sides
from sparsebench.errors import CANNOT_BUILD, FOUND_WHAT_FAILS, InputError
from sparsebench.measuring import hostlock, machine
from sparsebench.output import console, errors
from sparsebench.regression import builds, views, wires, yardstick
from sparsebench.regression.results import Commit, WireCheck, WireChecks
from sparselayers.backends import BACKENDS

_UPDATES = 3  # processes, of which the wires are the median


def check(names: Sequence[str], seconds: float, out: Path, *, as_json: bool) -> None:
    """Measure the wires of `names`, keep what came out; end the command where one is tripped."""
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


def update(because: str | None, names: Sequence[str], *, as_json: bool) -> None:
    """Measure the wires of `names` anew, write them with the reason, and print what changed."""
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

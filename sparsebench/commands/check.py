"""`sparsebench check`: whether a change made the layers slower."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from sparsebench import output
from sparsebench.errors import CANNOT_BUILD, FOUND_WHAT_FAILS, InputError
from sparsebench.measuring import hostlock, machine
from sparsebench.output import console, errors
from sparsebench.regression import builds, results, turns, views, wires, yardstick
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
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Only workloads like training-*; may be repeated."),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=turns.LEAST_PROCESSES, help="Of each side.")
    ] = turns.LEAST_PROCESSES,
    seconds: Annotated[
        float, typer.Option(min=0.001, help="For each workload in a process.")
    ] = 0.15,
    tolerance: Annotated[
        float, typer.Option(min=0, help="How much slower is still the same.")
    ] = turns.TOLERANCE,
    out: Annotated[Path, typer.Option(help="The folder of the results.")] = results.FOLDER,
    markdown: Annotated[
        Path | None, typer.Option(help="Write verdict and table there, as Markdown.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Compare this working tree's speed and memory with an earlier revision's, in turn.

    Exit codes: 0 not slower, or there is nothing to compare with; 3 a side cannot be built or
    does not run; 4 something is slower by more than the tolerance, or a trip wire was tripped.
    """
    if because and not update:
        raise InputError("--because goes with --update-trip-wires")
    names = _chosen(only)
    if update:
        _update(because, names, as_json=as_json)
    elif trip_wires:
        _wires(names, seconds, out, as_json=as_json)
    else:
        _against_base(
            base, names, out, markdown, as_json=as_json,
            processes=processes, seconds=seconds, tolerance=tolerance,
        )  # fmt: skip


def _chosen(patterns: Sequence[str] | None) -> list[str]:
    names = [
        name
        for name in yardstick.WORKLOADS
        if not patterns or any(fnmatch(name, pattern) for pattern in patterns)
    ]
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
    root = builds.repository(Path.cwd())
    head, revision = builds.head_of(root), builds.base_of(root, base)
    if revision is None:
        text = f"{head.commit} is the first commit: there is no base to compare with, and it passes"
        typer.echo(json.dumps({"base": None, "findings": []}) if as_json else text)
        if markdown is not None:
            markdown.write_text(f"### Performance check: passed\n\n{text}.\n", encoding="utf-8")
        return
    start, started = time.monotonic(), _now()
    try:
        with tempfile.TemporaryDirectory(prefix="sparsebench-check-") as scratch:
            folder = Path(scratch)
            _say(f"building base {revision.commit}")
            with builds.built(root, revision, folder / "base", head=False) as first:
                _say("building head")
                with builds.built(root, head, folder / "head", head=True) as second:
                    probe = turns.probe_with(
                        {"base": first.python, "head": second.python}, folder, seconds
                    )
                    with hostlock.measuring(waiting=_say):
                        findings = turns.judged(
                            probe, names, processes=processes, tolerance=tolerance, say=_say
                        )
    except builds.BuildError as error:
        errors.print("[red]error:[/] ", end="")
        errors.print(str(error), highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(CANNOT_BUILD) from None
    found = Check(
        started=started,
        wall_s=round(time.monotonic() - start, 1),
        base=Commit(**vars(revision)),
        head=Commit(**vars(head)),
        tolerance=tolerance,
        settings={"processes": processes, "seconds": seconds},
        findings=findings,
        machine=machine.fingerprint(),
    )
    with Checks(out) as store:
        store.append(found)
    if markdown is not None:
        markdown.write_text(views.markdown(found), encoding="utf-8")
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        output.show(views.table(found))
        console.print(views.sentence(found), highlight=False, soft_wrap=True)
    if found.failures:
        raise typer.Exit(FOUND_WHAT_FAILS)


def _wires(names: Sequence[str], seconds: float, out: Path, *, as_json: bool) -> None:
    path = wires.file()
    file = wires.load(path)
    chosen = [wire for wire in file.wires if wire.workload in names]
    if not chosen:
        raise InputError(f"{path}: has no wire for {', '.join(names)}")
    _need_kernels()
    start, started = time.monotonic(), _now()
    with hostlock.measuring(waiting=_say):
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
    with hostlock.measuring(waiting=_say):
        new = wires.measured(_measured(rivals, 0.15) for _ in range(_UPDATES))
    kept = tuple(wire for wire in old.wires if wire.workload not in rivals)
    commit = _commit()
    change = wires.Change(
        date=_now()[:10],
        commit="" if commit is None else views.named(commit),
        cpu=str(machine.fingerprint()["cpu"]["model"]),
        because=because,
    )
    wires.write(path, wires.WireFile((*old.changes, change), (*kept, *new)))
    if as_json:
        sides = wires.explained(old.wires, (*kept, *new))
        plain = [[None if wire is None else vars(wire) for wire in pair] for pair in sides]
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


def _say(text: str) -> None:
    errors.print(text, style="dim", highlight=False, markup=False)


def _now() -> str:
    return datetime.now(UTC).isoformat("T", "milliseconds")

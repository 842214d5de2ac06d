"""The cases of a run at one place: what has a record is skipped, what was interrupted goes on."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console

from sparsebench.analysis.points import points
from sparsebench.cases.case import Case
from sparsebench.cases.settings import Settings
from sparsebench.commands.places import Here, Place, Work
from sparsebench.commands.report import load
from sparsebench.errors import ClusterError
from sparsebench.interruption import Interrupted
from sparsebench.measuring import runner
from sparsebench.measuring.estimate import Estimator
from sparsebench.measuring.progress import duration, title
from sparsebench.measuring.refusals import refusal
from sparsebench.output import console, errors
from sparsebench.records import Store
from sparsebench.views.tables.cliffs import suspects


def measure(
    cases: list[Case],
    folder: Path,
    settings: Settings,
    *,
    resume: bool = True,
    retry_failed: bool = False,
    deadline: float | None = None,
    place: Place | None = None,
    talk: Console = console,
) -> None:
    """Measure those of `cases` of which `folder` has no record; without `resume` all of them.

    That is done at `place`, or here; what there is to say meanwhile is printed on `talk`.
    """
    place = place or Here(talk)
    with Store(folder) as store:
        earlier = load(folder)
        known = {r.case: r for r in earlier if place.knows(r)}
        if not resume:
            store.drop({known[case].identity for case in cases if case in known})
            known = {}
        pending = place.pending(cases, known, retry_failed)
        if skipped := len(cases) - len(pending):
            talk.print(f"{skipped} of {len(cases)} cases have a record in {folder} already")
        _measure(place, Work(pending, store, settings, earlier, deadline), talk)


def confirm(
    cases: list[Case],
    folder: Path,
    settings: Settings,
    *,
    place: Place,
    deadline: float | None,
    talk: Console = console,
) -> bool:
    """Measure again what the table of cliffs says of `cases`; return whether there was any.

    Neighbours of different sizes are measured minutes apart, so that a moment's disturbance of a
    shared machine looks like a cliff. One that is there comes out again.
    """
    measured = {r.case: r for r in load(folder) if place.knows(r)}
    found = suspects(points(measured[case] for case in cases if case in measured))
    if not found or (deadline is not None and time.monotonic() > deadline):
        return False
    talk.print(f"{len(found)} cases beside a cliff are measured again")
    asked = {case: case for case in cases}  # which know where their files are, as records do not
    again = [asked[point.case] for point in found]
    measure(again, folder, settings, resume=False, deadline=deadline, place=place, talk=talk)
    return True


def _measure(place: Place, work: Work, talk: Console) -> None:
    """Do `work`; on Ctrl-C, or when a cluster is lost, say how to go on and leave."""
    cases, store = work.cases, work.store
    try:
        measured = place.measure(work)
    except Interrupted:
        errors.print(
            f"interrupted: {store.appended} of {len(cases)} cases were measured and are in "
            f"{store.path}, the one under way is dropped; resume with the same command",
            highlight=False,
            soft_wrap=True,
        )
        raise
    except ClusterError as error:
        raise ClusterError(
            f"{error}; {store.appended} of {len(cases)} cases were measured and are in "
            f"{store.path}; resume with the same command"
        ) from None
    if left := len(cases) - measured:
        talk.print(
            f"the budget is used up: {left} of {len(cases)} cases are left; "
            "the same command again goes on"
        )


def list_cases(cases: list[Case], estimate: Estimator, *, as_json: bool) -> None:
    """Print `cases` in the order of measuring, how long they take, and why some are refused."""
    ordered = runner.ordered(cases, 0)
    if as_json:
        plain = [
            {"case": asdict(case), "seconds": round(estimate(case), 3), "refusal": refusal(case)}
            for case in ordered
        ]
        typer.echo(json.dumps(plain))
        return
    for case in ordered:
        reason = refusal(case)
        seconds = f"{estimate(case):5.1f} s" if not reason else f"unsupported: {reason}"
        line = f"{title(case)}  {seconds}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"{len(cases)} cases, about {duration(sum(map(estimate, cases)))}")

"""The cases of a run at one place: what has a record is skipped, what was interrupted goes on."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console

from sparsebench.analysis.points import points
from sparsebench.cases.case import Case
from sparsebench.cases.settings import Settings
from sparsebench.commands import retakes
from sparsebench.commands.places import Here, Place, Work
from sparsebench.commands.report import load
from sparsebench.errors import ClusterError
from sparsebench.interruption import Interrupted
from sparsebench.measuring import runner
from sparsebench.measuring.estimate import Estimator
from sparsebench.measuring.progress import duration, title
from sparsebench.measuring.refusals import refusal
from sparsebench.output import console, errors
from sparsebench.records import Record, Store
from sparsebench.views.tables.cliffs import suspects


def measure(
    cases: list[Case],
    folder: Path,
    settings: Settings,
    *,
    resume: bool = True,
    retry_failed: bool = False,
    stale: bool = False,
    deadline: float | None = None,
    place: Place | None = None,
    talk: Console = console,
) -> None:
    """Measure those of `cases` of which `folder` has no record; without `resume` all of them.

    Records of other software than is here now are named, and kept; with `stale` their cases are
    measured anew, beside their rivals. What other work disturbed is taken again at the end. That
    is done at `place`, or here; what there is to say meanwhile is printed on `talk`.
    """
    place = place or Here(talk)
    with Store(folder) as store:
        earlier = load(folder)
        current, old = _known(cases, earlier, place)
        if not resume:
            store.drop({record.identity for record in current.values()})
            current, old = {}, {}
        pending = place.pending(cases, old | current, retry_failed)
        again = {case.contest for case in (old if stale else pending)}
        # What is measured beside an old record of the same problem would have no ratio to it.
        beside = {c for c in cases if c.contest in again and (stale or c in old)}
        pending = [case for case in cases if case in beside.union(pending)]
        if skipped := len(cases) - len(pending):
            talk.print(f"{skipped} of {len(cases)} cases have a record in {folder} already")
        _name_old([record for case, record in old.items() if case not in pending], place, talk)
        if not pending:
            return
        work, begun = Work(pending, store, settings, earlier, deadline), time.monotonic()
        _measure(place, work, talk)
        try:
            told = retakes.take(place, work, time.monotonic() - begun)
        except Interrupted:
            errors.print(
                "interrupted while disturbed cases were taken again: every case has a record in "
                f"{store.path}; --retry-failed takes them again",
                highlight=False, soft_wrap=True,
            )  # fmt: skip
            raise
        talk.print(str(told), highlight=False, soft_wrap=True)


def _known(
    cases: list[Case], earlier: list[Record], place: Place
) -> tuple[dict[Case, Record], dict[Case, Record]]:
    """Return the last records of `cases`: of the software at `place`, and else of other."""
    asked = set(cases)
    here = [record for record in earlier if record.case in asked and place.knows(record)]
    current = {record.case: record for record in here if not place.differs(record)}
    return current, {record.case: record for record in here if record.case not in current}


def _name_old(records: list[Record], place: Place, talk: Console) -> None:
    """Say how many records are of other software, and what differs."""
    for what, count in Counter("; ".join(place.differs(r)) for r in records).items():
        talk.print(
            f"{count} of these records are of other software ({what}): they are kept; "
            "--stale measures their cases anew, beside their rivals",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip


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
    current, _ = _known(cases, load(folder), place)
    found = suspects(points(current[case] for case in cases if case in current))
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

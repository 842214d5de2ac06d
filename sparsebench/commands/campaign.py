"""The cases of a run at one place: what has a record is skipped, what was interrupted goes on."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import typer
from rich.console import Console

from sparsebench.analysis.points import points
from sparsebench.analysis.precision import imprecise
from sparsebench.cases.case import Case
from sparsebench.cases.settings import MOST_ROUNDS, Settings
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
    """Measure those of `cases` that `folder` lacks rounds of; without `resume` all of them.

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
        work = Work(pending, store, settings, earlier, deadline)
        if place.in_passes:
            _rounds(place, cases, pending, known, work, talk)
        else:
            _measure(place, work, talk)


def _rounds(
    place: Place, cases: list[Case], pending: list[Case], known: dict[Case, Record], work: Work,
    talk: Console,
) -> None:  # fmt: skip
    """Measure every case once, then every one again: the rounds of a case lie minutes apart.

    Those of `pending` begin, others go on where they stopped; one that failed is over. With a
    precision, contests of which an interval is wider get more rounds: what came out plays no part.
    """
    settings, store = work.settings, work.store
    again = set(pending)
    have = {case: known[case] for case in cases if case in known and case not in again}
    store.go_on(have.values())

    def measured(number: int, lacking: list[Case], of: str) -> bool:
        """Measure a round of the cases; return whether all of them were."""
        if settings.rounds > 1:
            talk.print(f"round {number + 1}{of}: {len(lacking)} cases", highlight=False)
        once = replace(settings, rounds=1, seed=settings.seed + number)
        ended = _measure(place, replace(work, cases=lacking, settings=once), talk)
        found = {r.case: r for r in load(store.folder) if place.knows(r)}
        have.update({case: found[case] for case in lacking if case in found})
        store.go_on(have[case] for case in lacking if case in have)
        return ended

    for number in range(settings.rounds):
        lacking = [case for case in cases if _count(have.get(case)) <= number]
        if lacking and not measured(number, lacking, f" of {settings.rounds}"):
            return
    if settings.precision is None:
        return
    while wide := _imprecise(cases, have, settings.precision):
        number = min(have[case].round_count for case in wide)
        if number >= MOST_ROUNDS:
            talk.print(
                f"{len(wide)} cases are less precise than {settings.precision:.3g} after "
                f"{MOST_ROUNDS} rounds: their intervals say how much",
                highlight=False,
            )
            return
        if not measured(number, wide, ""):
            return


def _count(record: Record | None) -> float:
    """Return how many rounds there are; more than any for a case that failed."""
    if record is None:
        return 0
    return record.round_count if record.status == "ok" else math.inf


def _imprecise(cases: list[Case], have: dict[Case, Record], precision: float) -> list[Case]:
    """Return the cases of contests with an interval that is too wide: both sides of a ratio."""
    of = set(cases)
    found = imprecise(points(r for case, r in have.items() if case in of), precision)
    contests = {point.case.contest for point in found}
    return [c for c in cases if c.contest in contests and _count(have.get(c)) < math.inf]


def _measure(place: Place, work: Work, talk: Console) -> bool:
    """Do `work`, and return whether all was done.

    On Ctrl-C, or when a cluster is lost, say how to go on and leave.
    """
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
    return not left


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

"""The cases of a run at one place: what has a record is skipped, what was interrupted goes on."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from sparsebench.analysis.points import points
from sparsebench.analysis.precision import imprecise
from sparsebench.campaign.places import Here, Place, Work
from sparsebench.cases.case import Case
from sparsebench.cases.settings import MOST_ROUNDS, Settings
from sparsebench.errors import ClusterError
from sparsebench.interruption import Interrupted
from sparsebench.measuring import retakes
from sparsebench.measuring.runner import Again
from sparsebench.output import console, errors
from sparsebench.records import Record, Store, load

_WHILE = "while disturbed cases were taken again: every case has a record in "


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
    """Measure those of `cases` that `folder` lacks rounds of; without `resume` all of them.

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
        work, begun = Work(pending, store, settings, earlier, deadline), time.monotonic()
        if place.in_passes:
            # Those of other software are kept as they are.
            here = current.keys() | set(pending)
            going = [case for case in cases if case in here]
            pending = _rounds(place, going, current, work, talk)
        elif pending:
            _measure(place, work, talk)
        if not pending:
            return
        try:
            told = _retaken(place, replace(work, cases=pending), time.monotonic() - begun)
        except Interrupted:
            line = f"interrupted {_WHILE}{store.path}; --retry-failed takes them again"
            errors.print(line, highlight=False, soft_wrap=True)
            raise
        except ClusterError as error:
            raise ClusterError(f"{error} {_WHILE}{store.path}") from None
        talk.print(str(told), highlight=False, soft_wrap=True)


def _retaken(place: Place, work: Work, measured_s: float) -> retakes.Retakes:
    """Take those of `work` again that were disturbed, with the software that is here."""
    asked = {case: case for case in work.cases}  # which know where their files are: records do not

    def found() -> dict[Case, Record]:
        current, _ = _known(work.cases, load(work.store.folder), place)
        return {asked[case]: record for case, record in current.items()}

    def measure(
        known: Mapping[Case, Record], again: Mapping[Case, Again], once: Settings, end: float
    ) -> None:
        earlier, cases = list(known.values()), list(again)
        place.measure(
            replace(work, cases=cases, settings=once, earlier=earlier, deadline=end, again=again)
        )

    return retakes.take(
        work.store, found, measure, work.settings, measured_s, deadline=work.deadline
    )


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


def _rounds(
    place: Place, cases: list[Case], current: dict[Case, Record], work: Work, talk: Console
) -> list[Case]:
    """Measure every case once, then every one again: the rounds of a case lie minutes apart.

    Those of `work` begin, others go on where they stopped; one that failed is over. With a
    precision, contests of which an interval is wider get more rounds: what came out plays no part.
    Return those that had a round, in the order of `cases`.
    """
    settings, store = work.settings, work.store
    again, done = set(work.cases), set[Case]()
    have = {case: current[case] for case in cases if case in current and case not in again}
    store.go_on(have.values())
    for number, lacking, of in _passes(cases, have, settings, talk):
        if settings.rounds > 1:
            talk.print(f"round {number + 1}{of}: {len(lacking)} cases", highlight=False)
        once = replace(settings, rounds=1, seed=settings.seed + number)
        earlier = [*{r.identity: r for r in (*work.earlier, *have.values())}.values()]
        ended = _measure(place, replace(work, cases=lacking, settings=once, earlier=earlier), talk)
        found, _ = _known(lacking, load(store.folder), place)
        have.update(found)
        store.go_on(found.values())
        done |= found.keys()
        if not ended:
            break
    return [case for case in cases if case in done]


def _passes(
    cases: list[Case], have: Mapping[Case, Record], settings: Settings, talk: Console
) -> Iterator[tuple[int, list[Case], str]]:
    """Yield the cases of each round, its number and of how many, by the records there are then."""
    for number in range(settings.rounds):
        lacking = [case for case in cases if _count(have.get(case)) <= number]
        if lacking:
            yield number, lacking, f" of {settings.rounds}"
    while settings.precision and (wide := _imprecise(cases, have, settings.precision)):
        number = int(min(_count(have[case]) for case in wide))
        if number >= MOST_ROUNDS:
            talk.print(
                f"{len(wide)} cases are less precise than {settings.precision:.3g} after "
                f"{MOST_ROUNDS} rounds: their intervals say how much",
                highlight=False,
            )
            return
        yield number, wide, ""


def _count(record: Record | None) -> float:
    """Return how many rounds there are in their place; more than any for a case that failed."""
    if record is None:
        return 0
    if record.status != "ok":
        return math.inf
    return record.round_count - sum(bool(part.retaken) for part in record.rounds)


def _imprecise(cases: list[Case], have: Mapping[Case, Record], precision: float) -> list[Case]:
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
    before = store.appended  # in earlier rounds
    try:
        measured = place.measure(work)
    except Interrupted:
        errors.print(
            f"interrupted: {store.appended - before} of {len(cases)} cases were measured and are "
            f"in {store.path}, the one under way is dropped; resume with the same command",
            highlight=False,
            soft_wrap=True,
        )
        raise
    except ClusterError as error:
        raise ClusterError(
            f"{error}; {store.appended - before} of {len(cases)} cases were measured and are in "
            f"{store.path}; resume with the same command"
        ) from None
    if left := len(cases) - measured:
        talk.print(
            f"the budget is used up: {left} of {len(cases)} cases are left; "
            "the same command again goes on"
        )
    return not left

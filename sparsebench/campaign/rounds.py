"""The rounds of many cases: each in a pass over all of them, so that they lie minutes apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from rich.console import Console

from sparsebench.analysis.points import points
from sparsebench.analysis.precision import imprecise
from sparsebench.campaign.place import Place, Work
from sparsebench.cases.case import Case
from sparsebench.cases.settings import MOST_ROUNDS, Settings
from sparsebench.errors import ClusterError
from sparsebench.interruption import Interrupted
from sparsebench.measuring.progress import counted
from sparsebench.output import errors
from sparsebench.records import Record, load


def measured(
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
            talk.print(f"round {number + 1}{of}: {counted(len(lacking))}", highlight=False)
        single = replace(settings, rounds=1, seed=settings.seed + number)
        earlier = [*{r.identity: r for r in (*work.earlier, *have.values())}.values()]
        ended = once(place, replace(work, cases=lacking, settings=single, earlier=earlier), talk)
        found, _ = place.known(lacking, load(store.folder))
        have.update(found)
        store.go_on(found.values())
        done |= found.keys()
        if not ended:
            break
    return [case for case in cases if case in done]


def once(place: Place, work: Work, talk: Console) -> bool:
    """Do `work`, and return whether all was done.

    On Ctrl-C, or when a cluster is lost, say how to go on and leave.
    """
    cases, store = work.cases, work.store
    before = store.appended  # in earlier rounds
    try:
        done = place.measure(work)
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
    if left := len(cases) - done:
        talk.print(
            f"the budget is used up: {left} of {len(cases)} cases are left; "
            "the same command again goes on"
        )
    return not left


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

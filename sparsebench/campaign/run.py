"""The cases of a run at one place: what has a record is skipped, what was interrupted goes on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from sparsebench.campaign import rounds
from sparsebench.campaign.here import Here
from sparsebench.campaign.place import Place, Work
from sparsebench.cases.case import Case
from sparsebench.cases.settings import Settings
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
    retry: str = "",
) -> None:
    """Measure those of `cases` that `folder` lacks rounds of; without `resume` all of them.

    Records of other software than is here now are named, and kept; with `stale` their cases are
    measured anew, beside their rivals. What other work disturbed is taken again at the end. That
    is done at `place`, or here; what there is to say meanwhile is printed on `talk`. `retry` is how
    whoever asks has those taken again that stay so.
    """
    place = place or Here(talk)
    with Store(folder) as store:
        earlier = load(folder)
        current, old = place.known(cases, earlier)
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
            pending = rounds.measured(place, going, current, work, talk)
        elif pending:
            rounds.once(place, work, talk)
        if not pending:
            return
        try:
            told = _retaken(place, replace(work, cases=pending), time.monotonic() - begun)
        except Interrupted:
            line = f"interrupted {_WHILE}{store.path}{_takes(retry)}"
            errors.print(line, highlight=False, soft_wrap=True)
            raise
        except ClusterError as error:
            raise ClusterError(f"{error} {_WHILE}{store.path}") from None
        how = _takes(retry) if told.left else ""
        talk.print(f"{told}{how}", highlight=False, soft_wrap=True)


def _takes(retry: str) -> str:
    return f"; {retry} takes them again" if retry else ""


def _retaken(place: Place, work: Work, measured_s: float) -> retakes.Retakes:
    """Take those of `work` again that were disturbed, with the software that is here."""
    asked = {case: case for case in work.cases}  # which know where their files are: records do not

    def found() -> dict[Case, Record]:
        current, _ = place.known(work.cases, load(work.store.folder))
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


def _name_old(records: list[Record], place: Place, talk: Console) -> None:
    """Say how many records are of other software, and what differs."""
    for what, count in Counter("; ".join(place.differs(r)) for r in records).items():
        talk.print(
            f"{count} of these records are of other software ({what}): they are kept; "
            "--stale measures their cases anew, beside their rivals",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip

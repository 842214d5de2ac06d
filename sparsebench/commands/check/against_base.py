"""`sparsebench check`: speed and memory of this working tree against those of a base."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from sparsebench.commands.check import sides
from sparsebench.measuring import hostlock, machine
from sparsebench.regression import judging, turns, views
from sparsebench.regression.results import Check, Checks, Commit


def check(
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
    """Measure both sides in turn, tell and keep what came out, and end the command by it."""
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

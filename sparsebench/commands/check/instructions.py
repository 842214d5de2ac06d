"""`sparsebench check --instructions`: whether a change has the kernels execute more of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from sparsebench.commands.check import sides
from sparsebench.errors import InputError
from sparsebench.measuring import machine
from sparsebench.regression import count_views, instructions
from sparsebench.regression.counted.workloads import WORKLOADS
from sparsebench.regression.instructions import Side
from sparsebench.regression.results import Commit, CountCheck, CountChecks


def check(
    base: str | None,
    only: Sequence[str],
    out: Path,
    markdown: Path | None,
    *,
    as_json: bool,
    tolerance: float,
) -> None:
    """Count both sides' instructions, tell and keep what came out, and end the command by it.

    Raises InputError where valgrind is missing, or no workload is like one of `only`.
    """
    tool = instructions.valgrind()
    if not sides.like(WORKLOADS, only):
        raise InputError(
            f"--only {' '.join(only)}: no such workload of --instructions: choose from "
            f"{', '.join(WORKLOADS)}"
        )
    compared = sides.of(base, markdown, as_json=as_json)
    if compared is None:
        return
    start, started = time.monotonic(), sides.now()
    with compared.built() as (folder, first, second):
        both = {"base": Side.of(first), "head": Side.of(second)}
        chosen = {side: sides.like(instructions.names(own), only) for side, own in both.items()}
        sides.say(f"counting the instructions of {len(chosen['head'])} workloads")
        counts = instructions.count(tool, both, chosen, folder)
    found = CountCheck(
        started=started,
        wall_s=round(time.monotonic() - start, 1),
        base=Commit(**vars(compared.base)),
        head=Commit(**vars(compared.head)),
        tolerance=tolerance,
        tool=instructions.release(tool),
        findings=instructions.judged(counts["base"], counts["head"], tolerance),
        machine=machine.fingerprint(),
    )
    with CountChecks(out) as store:
        store.append(found)
    sides.tell(found, count_views, markdown, as_json=as_json)

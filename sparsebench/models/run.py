"""Measure many ModelCases, each in a process of its own; what has a record is skipped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sparsebench.measuring import isolation, machine
from sparsebench.models.measure import measure
from sparsebench.models.records import (
    FILE_NAME,
    OTHERS,
    ModelCase,
    ModelRecord,
    ModelStore,
    load,
)


def pending(cases: Iterable[ModelCase], folder: Path) -> list[ModelCase]:
    """Return the cases that have no record of this machine in `folder`, failed ones included."""
    mine = str(machine.fingerprint()["id"])
    done = {r.identity for r in load(folder / FILE_NAME) if r.status == "ok"}
    return [case for case in cases if (case.key, mine) not in done]


def run(
    cases: Iterable[ModelCase], folder: Path, *, layer_s: float, timeout_s: float
) -> Iterator[ModelRecord]:
    """Measure the cases without a record of this machine; append each record, then yield it."""
    with ModelStore(folder) as records:
        mine = machine.fingerprint()
        for case in pending(cases, folder):
            started = datetime.now(UTC).isoformat(timespec="seconds")
            try:
                found = _measured(case, layer_s, timeout_s)
                record = ModelRecord(case=case, started=started, machine=mine, **found)
            except isolation.Failure as failure:
                record = ModelRecord(
                    case=case,
                    status=failure.status,
                    message=str(failure),
                    started=started,
                    machine=mine,
                )
            records.append(record)
            yield record


def _measured(case: ModelCase, layer_s: float, timeout_s: float) -> dict[str, Any]:
    """Measure in a process of its own; without other libraries' forms where that ends the process.

    Raises Failure.
    """
    try:
        found = isolation.call(measure, case, layer_s, timeout_s=timeout_s)
    except isolation.Crash as crash:
        refused = dict.fromkeys(OTHERS, str(crash))
        found = isolation.call(measure, case, layer_s, refused, timeout_s=timeout_s)
    return dict(found)

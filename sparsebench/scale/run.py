"""Measure many ScaleCases, each in a process of its own; what has a record is skipped."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from sparsebench.measuring import isolation, machine, memory
from sparsebench.scale.measure import measure
from sparsebench.scale.records import FILE_NAME, ScaleCase, ScaleRecord, ScaleStore, load

# Measured at 10⁸ connections, RigL's and SET's momentary needs included, with room to spare.
BYTES_PER_CONNECTION = 80
BYTES_PER_UNIT = 1000  # at batch 16: inputs, outputs, their gradients and arrangements


def run(cases: Iterable[ScaleCase], folder: Path, *, timeout_s: float) -> Iterator[ScaleRecord]:
    """Measure the cases without a record of this machine; append each record, then yield it."""
    mine = machine.fingerprint()
    with ScaleStore(folder) as records:
        done = {record.identity for record in load(folder / FILE_NAME)}
        for case in cases:
            if (case.key, str(mine["id"])) in done:
                continue
            record = _measured(case, folder, timeout_s).model_copy(update={"machine": mine})
            records.append(record)
            yield record


def _measured(case: ScaleCase, folder: Path, timeout_s: float) -> ScaleRecord:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    needed = BYTES_PER_CONNECTION * case.connections + BYTES_PER_UNIT * case.width
    free = memory.available("cpu")
    if needed > free:
        message = f"needs about {needed / 1e9:.3g} GB of memory, {free / 1e9:.3g} GB are free"
        return ScaleRecord(case=case, status="oom", message=message, started=started)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".files-") as files:
        try:
            found = isolation.call(measure, case, Path(files), timeout_s=timeout_s)
        except isolation.Failure as failure:
            return ScaleRecord(
                case=case, status=failure.status, message=str(failure), started=started
            )
    return ScaleRecord(case=case, started=started, **found)

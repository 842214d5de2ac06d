"""Records as one tidy pandas DataFrame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sparsebench import records
from sparsebench.analysis.points import forget, points
from sparsebench.errors import InputError
from sparsebench.records.store import uncollected
from sparsebench.views.tables.cases import numbers


def load_frame(*sources: Path | str) -> pd.DataFrame:
    """Return the newest record of every case below `sources` as a row of a DataFrame.

    Columns: `machine`, every field of the case (`implementation`, `in_features`, …), `status`,
    `message`, `disturbed` (why its time decides nothing; empty if it does), and every metric of
    `sparsebench list` with its unit, as `time [s]`; where it has an interval, that too, as
    `time [s] low` and `time [s] high` (95%). Cases that failed have a status and no numbers. Raw
    samples are in the files themselves, which `pandas.read_json(path, lines=True)` reads.

    Raises InputError where a source does not exist, or none holds a record.
    """
    with uncollected():
        return frame_of([record for source in sources for record in _load(Path(source))])


def frame_of(found: Sequence[records.Record]) -> pd.DataFrame:
    """Return records as the DataFrame that `load_frame` describes."""
    if not found:
        raise InputError("no records: measure some with `sparsebench run`")
    with uncollected():
        every = points(found)
        frame = numbers(every)
        forget(every)
    return frame


def _load(source: Path) -> list[records.Record]:
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    return records.load(source)

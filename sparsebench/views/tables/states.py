"""The history of records: what was measured when, and with what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import pandas as pd

from sparsebench.analysis.states import states
from sparsebench.records import Record
from sparsebench.views import units
from sparsebench.views.tables.table import Table, tidy


def history(records: Iterable[Record]) -> Table:
    """Return a row for each state of software that a machine was measured with."""
    found = states(records)
    text = [
        {
            "machine": state.machine,
            "measured": " to ".join(dict.fromkeys((state.first, state.last))) or "undated",
            "sparsebench at": state.commit,
            "PyTorch": state.torch,
            "records": str(state.records),
            "time over the newest": ""
            if state.over_newest is None
            else f"{units.ratio(state.over_newest)} ({state.shared} cases)",
        }
        for state in found
    ]
    caption = "What was measured when, and the time of `ours` over that of the newest records of "
    caption += "the same cases (other days: small differences mean nothing)"
    return Table("history", caption, pd.DataFrame([asdict(state) for state in found]), tidy(text))

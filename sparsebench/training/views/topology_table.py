"""What the connections of trained networks look like, as a table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sparsebench.training.groups import Group
from sparsebench.training.records import LayerConnections
from sparsebench.views import units
from sparsebench.views.tables import Table

# The columns that are shares: of connections, of outputs, of inputs, of units, of connections.
SHARES = (
    "on no path",
    "outputs without any",
    "inputs without any",
    "active units",
    "new since the start",
)


def of(name: str, groups: Sequence[Group]) -> list[Table]:
    """Return the table of what records say of the connections of `groups`; none where they don't.

    Shares are those of all sparse layers together, the mean over the seeds.
    """
    numbers = [row for group in groups if (row := row_of(group)) is not None]
    if not numbers:
        return []
    shown = [{name: _text(name, value) for name, value in row.items()} for row in numbers]
    caption = (
        f"{name}: the connections after training; units are active that are on a path from an "
        "input to an output"
    )
    return [Table(f"connections-{name}", caption, pd.DataFrame(numbers), pd.DataFrame(shown))]


def row_of(group: Group) -> dict[str, Any] | None:
    """Return what the runs of a group recorded, shares as fractions; None where they did not."""
    runs = [run.connections for run in group.finished if run.connections]
    if not runs:
        return None
    effective = _share(runs, "effective", "connections")
    return {
        "row": group.setting.row,
        "sparsity": group.setting.sparsity,
        "runs": len(runs),
        "connections": round(statistics.fmean(sum(e.connections for e in run) for run in runs)),
        "on no path": None if effective is None else 1.0 - effective,
        "outputs without any": _share(runs, "dead_outputs", "outputs"),
        "inputs without any": _share(runs, "dead_inputs", "inputs"),
        "active units": _share(runs, "effective_units", "outputs"),
        "new since the start": _share(runs, "new", "connections"),
    }


def _share(runs: Sequence[list[LayerConnections]], part: str, whole: str) -> float | None:
    """The mean over the runs of Σ part / Σ whole over the layers; None where a part is unknown."""
    parts = [[getattr(layer, part) for layer in run] for run in runs]
    if any(each is None for run in parts for each in run):
        return None
    wholes = [sum(getattr(layer, whole) for layer in run) for run in runs]
    return statistics.fmean(sum(p) / w for p, w in zip(parts, wholes, strict=True))


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "connections":
        return f"{value:,}"
    return units.percent(value) if isinstance(value, float) else str(value)

"""Leagues of matrices from files: by network, and by sparsity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from sparsebench.analysis import matrices
from sparsebench.analysis.grouping import group
from sparsebench.analysis.league import league
from sparsebench.analysis.order import implementations
from sparsebench.analysis.point import BASELINE, LEAD, Point
from sparsebench.views import units
from sparsebench.views.tables.table import Row, Table, columns, tidy

_CAPTION = (
    "Matrices from files by {}: geometric mean of the speed-up over dense, and how many of the "
    "problems each won; `ours` over MKL is over the faster of its two"
)


def networks(points: Sequence[Point]) -> Table:
    """Return the league of every network, and of all, at each phase and batch."""
    return _leagues("matrices-network", "network", points, matrices.by_network)


def sparsities(points: Sequence[Point]) -> Table:
    """Return the league of every band of sparsities at each phase and batch."""
    return _leagues("matrices-sparsity", "sparsity", points, matrices.by_sparsity)


def _leagues(
    name: str,
    what: str,
    points: Sequence[Point],
    parted: Callable[[Iterable[Point]], dict[str, list[Point]]],
) -> Table:
    numbers: list[Row] = []
    text: list[Row] = []
    every = matrices.from_files(points)
    names = implementations(point for point in every if point.ok)
    for key, members in group(every, *matrices.SHARED, "phase", "batch").items():
        shared = dict(zip((*matrices.SHARED, "phase", "batch"), key, strict=True))
        for part, some in parted(members).items():
            labels = shared | {what: part, "matrices": matrices.count(some)}
            rows = _rows(some)
            numbers += [labels | row for row in rows.values()]
            shown = {n: _cell(rows[n]) if n in rows else "" for n in names if n != BASELINE}
            text.append(labels | shown | _dense(rows) | _over_mkl(rows))
    caption = _CAPTION.format(what)
    return Table(name, caption, pd.DataFrame(numbers), tidy(text))


def _rows(points: Sequence[Point]) -> dict[str, Row]:
    """Return the standing of every implementation with its means over the matrices."""
    members = group(points, "implementation")
    return {
        place.implementation: {"implementation": place.implementation}
        | columns("speedup", matrices.mean_speedup(members[place.implementation,]))
        | columns("relative_time", place.relative_time)
        | columns("over_mkl", matrices.over_mkl(members[place.implementation,]))
        | {"wins": place.wins, "timed": place.timed, "problems": place.problems}
        for place in league(points)
    }


def _cell(row: Row) -> str:
    if row["speedup"] is None:
        return "" if row["timed"] else "no time"
    won = f" ({row['wins']} won)" if row["wins"] else ""
    return f"{units.ratio(row['speedup'])}{won}"


def _dense(rows: dict[str, Row]) -> Row:
    won = rows[BASELINE]["wins"] if BASELINE in rows else ""
    return {"dense won": str(won)}


def _over_mkl(rows: dict[str, Row]) -> Row:
    over = rows.get(LEAD, {}).get("over_mkl")
    return {f"{LEAD} over MKL": "" if over is None else units.ratio(over)}

"""The figures in sentences of the README and of docs/, made from the committed records.

A figure in a sentence stands between two comments, of which the first says what it is:

    <!-- figure: range: nvidia-h200/gpu | wall_time of dense | width=2048 -->179 to 405 µs<!-- / -->

that is: a metric of cases in results/reference/nvidia-h200/gpu, those of `ours` where no other
implementation is named, for which the last part holds, as `--filter` writes it. It is one of
`sparsebench.analysis.metrics`, `A / B` of two of them, or `over NAME`: the time of NAME over that
of ours on the same problem. `least`, `most`, `mean` (geometric), `range` and `slower` (how many are
below 1) say what is made of the values; those that other work disturbed are left out.

    <!-- figure: cell: mnist/mnist | s/epoch | row=sparse -->1.52<!-- / -->

is a cell of a table, as readme_tables.py makes it; `cells` are the least and the greatest of a
column in all rows that are meant, and a last part says which cases the table is made of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from statistics import geometric_mean

import pandas as pd

from sparsebench import records
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.point import LEAD, Point
from sparsebench.views import units
from tests import readme_tables as tables

SENTENCE = re.compile(r"(<!-- figure: (.+?) -->)(.*?)(<!-- / -->)", re.DOTALL)


def updated(text: str) -> str:
    """Return a page with its tables, and the figures in its sentences, as the records have them."""
    return SENTENCE.sub(lambda found: f"{found[1]}{said(found[2])}{found[4]}", tables.updated(text))


def said(order: str) -> str:
    """Return the figure that a comment asks for."""
    kind, _, rest = order.partition(":")
    source, what, *conditions = (part.strip() for part in rest.split("|"))
    if kind in _OF_CELLS:
        return _OF_CELLS[kind](cells(source, what, *conditions))
    found, unit = values(source, what, *conditions)
    if kind == "slower":
        return f"{sum(value < 1 for value in found)} of the {len(found)} layers"
    return span(_OF_VALUES[kind](found), unit)


def values(source: str, what: str, conditions: str = "") -> tuple[list[float], str]:
    """Return a metric of the points that are meant, and its unit."""
    name, _, implementation = what.partition(" of ")
    counted = [
        point
        for point in _points(source, conditions)
        if point.case.implementation == (implementation or LEAD) and not point.unsure
    ]
    if name.startswith("over "):
        rival = name.removeprefix("over ")
        pairs = [(p.rivals[rival], p) for p in counted if rival in p.rivals]
        return [r.seconds.value / p.seconds.value for r, p in pairs if r.decides], "×"
    first, *others = (METRICS[part.strip()] for part in name.split("/"))
    found = []
    for point in counted:
        parts = [estimate for m in (first, *others) if (estimate := m.of(point)) is not None]
        if len(parts) == 1 + len(others):
            found.append(parts[0].value / (parts[1].value if others else 1.0))
    return found, first.unit


def span(found: Sequence[float], unit: str) -> str:
    """Return a number, or the ends of a range, as people read them: 179 to 405 µs."""
    ends = [
        units.ratio(v).removesuffix("×") if unit == "×" else units.quantity(v, unit) for v in found
    ]
    if len(ends) == 2 and ends[0].split()[1:] == ends[1].split()[1:]:
        ends[0] = ends[0].split()[0]
    return " to ".join(dict.fromkeys(ends))


def cells(source: str, column: str, rows: str = "", conditions: str = "") -> list[str]:
    """Return the cells of a column of a table, each its value alone, in the rows that are meant."""
    frame = tables.rows_of(_table(source, conditions), rows)
    return [re.split(r" [(±]", cell)[0].rstrip(units.UNKNOWN) for cell in frame[column] if cell]


def _one(found: Sequence[str]) -> str:
    (cell,) = found
    return cell


def _ends(found: Sequence[str]) -> str:
    numbers = {cell: float(n[0]) for cell in found if (n := re.match(r"[-+\d.]+", cell))}
    low, high = (pick(numbers, key=numbers.__getitem__) for pick in (min, max))
    unit = low[re.match(r"[-+\d.]+", low).end() :]
    return f"{low.removesuffix(unit) if high.endswith(unit) else low} to {high}"


@cache
def _points(source: str, conditions: str) -> list[Point]:
    return tables.points_of(tables.REFERENCE / source / records.FILE_NAME, conditions)


@cache
def _table(source: str, conditions: str) -> pd.DataFrame:
    folder, _, name = source.rpartition("/")
    made = tables.made(tables.REFERENCE / folder, conditions)
    return next(table for table in made if table.name == name).text


_OF_VALUES: dict[str, Callable[[Sequence[float]], Sequence[float]]] = {
    "least": lambda found: [min(found)],
    "most": lambda found: [max(found)],
    "range": lambda found: [min(found), max(found)],
    "mean": lambda found: [geometric_mean(found)],
}
_OF_CELLS: dict[str, Callable[[Sequence[str]], str]] = {"cell": _one, "cells": _ends}


if __name__ == "__main__":
    for page in tables.PAGES:
        page.write_text(updated(page.read_text("utf-8")), "utf-8")

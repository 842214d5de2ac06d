"""What a table is, and what the rows of all tables have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from sparsebench.analysis.estimates import Estimate
from sparsebench.analysis.grouping import CONDITIONS
from sparsebench.analysis.point import Point
from sparsebench.views import units

Row = dict[str, Any]

_LABELS = (*CONDITIONS, "phase", "batch", "size", "implementation")


@dataclass(frozen=True)
class Table:
    """A table under a file name and a caption: tidy `numbers`, and `text` as it is printed."""

    name: str
    caption: str
    numbers: pd.DataFrame
    text: pd.DataFrame

    @property
    def rows(self) -> int:
        """How many it has as it is printed."""
        return len(self.text)


class LongTable(Table):
    """A table whose rows of text are made when they are first looked at.

    Of a hundred thousand cases nobody does: such a table is a file of numbers alone. There are
    `count` rows, or one for each of the numbers.
    """

    def __init__(
        self,
        name: str,
        caption: str,
        numbers: pd.DataFrame,
        rows: Callable[[], list[Row]],
        count: int | None = None,
    ) -> None:
        count = len(numbers) if count is None else count
        vars(self).update(name=name, numbers=numbers, _caption=caption, _rows=rows, _count=count)

    @cached_property
    def _said(self) -> list[Row]:
        made: list[Row] = vars(self)["_rows"]()
        return made

    @cached_property
    def caption(self) -> str:
        """What it is about, with the signs in it explained."""
        return noted(vars(self)["_caption"], self._said)

    @cached_property
    def text(self) -> pd.DataFrame:
        """The numbers as they are printed."""
        return tidy(self._said)

    @property
    def rows(self) -> int:
        """How many it has as it is printed."""
        return int(vars(self)["_count"])


def labels_of(point: Point) -> Row:
    """Return what a row is about: the conditions, then the problem."""
    fields = point.fields
    return {name: fields[name] for name in _LABELS}


def columns(name: str, estimate: Estimate | None) -> Row:
    """Return a number and the ends of its interval as three columns."""
    if estimate is None:
        return {name: None, f"{name} low": None, f"{name} high": None}
    return {name: estimate.value, f"{name} low": estimate.low, f"{name} high": estimate.high}


def label_columns(points: Sequence[Point]) -> dict[str, list[Any]]:
    """Return what `labels_of` says of each of the points, by columns: of many, in less time."""
    every = [point.fields for point in points]
    return {name: [fields[name] for fields in every] for name in _LABELS}


def interval_columns(name: str, estimates: Sequence[Estimate | None]) -> dict[str, list[Any]]:
    """Return what `columns` says of each of the estimates, by columns."""
    return {
        name: [None if e is None else e.value for e in estimates],
        f"{name} low": [None if e is None else e.low for e in estimates],
        f"{name} high": [None if e is None else e.high for e in estimates],
    }


def noted(caption: str, rows: Sequence[Row]) -> str:
    """Return a caption that explains the sign for an interval that is not there, where one is."""
    marked = any(units.UNKNOWN in str(cell) for row in rows for cell in row.values())
    return f"{caption} ({units.UNKNOWN_MEANS})" if marked else caption


def tidy(rows: list[Row]) -> pd.DataFrame:
    """Return rows of text without the conditions that are the same in all of them."""
    frame = pd.DataFrame(rows)
    same = [c for c in CONDITIONS if c in frame and frame[c].nunique() == 1]
    return frame.drop(columns=same).fillna("").astype(str)

"""What a chapter of the page is: sections of figures, tables and maps about some records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from sparsebench.analysis.point import Point
from sparsebench.views.page.maps import HeatMap
from sparsebench.views.tables import Table


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it."""

    title: str
    explanation: str
    figures: Sequence[tuple[str, Figure]] = ()
    tables: Sequence[Table] = ()
    maps: Sequence[HeatMap] = ()
    searchable: bool = False


@dataclass(frozen=True)
class Chapter:
    """All records of one sweep or experiment, of whatever machines."""

    name: str
    command: str  # that measures it again; "" where none is known
    sections: Sequence[Section]
    points: Sequence[Point] = field(default=(), repr=False)
    sources: Sequence[Path] = ()  # the files that its records are in
    what: str = "this"  # that the command measures

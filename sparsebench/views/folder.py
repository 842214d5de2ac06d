"""All tables and plots of a set of records, in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sparsebench.analysis.point import Point
from sparsebench.analysis.points import points
from sparsebench.errors import InputError
from sparsebench.records import Record
from sparsebench.records.store import set_aside, uncollected
from sparsebench.views import plots, tables


def write(
    records: Iterable[Record],
    folder: Path | str,
    *,
    told: Callable[[str], None] = lambda what: None,
) -> list[Path]:
    """Write `folder`/tables and `folder`/plots from `records`; return the paths written.

    Nothing is measured. `told` is called with what is written next. Raises InputError where there
    is no record to show.
    """
    return write_points(points(records), folder, told=told)


def write_points(
    every: Sequence[Point], folder: Path | str, *, told: Callable[[str], None] = lambda what: None
) -> list[Path]:
    """Write the same of the points of records."""
    if not every:
        raise InputError("no records to report: measure some with `sparsebench run`")
    written = []
    for name in ("tables", "plots"):
        (Path(folder) / name).mkdir(parents=True, exist_ok=True)
    with uncollected():
        for table in tables.tables(every, told=told):
            written += tables.write(table, Path(folder) / "tables")
    with set_aside():
        for name, figure in plots.figures(every):
            told(f"plot {name}")
            written += plots.save(figure, Path(folder) / "plots" / name)
    return written

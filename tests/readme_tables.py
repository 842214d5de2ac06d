"""The tables of figures in the README and below docs/, made from the committed records.

On these pages a table stands between two comments, of which the first says what it shows:

    <!-- figures: headline/measurements | implementation, time, speedup | phase=inference -->
    <!-- end -->

that is: the table `measurements` of the records in results/reference/headline; the columns to keep
(all of them, where none is named); what holds for the cases that count, as `--filter` writes it,
separated by semicolons, or, of records that are no cases, what cells of rows are: `column=cell`,
where * is anything. One table sets machines beside each other, and names their records:

    <!-- figures: machines: Zen 5 = default, Xeon = intel-xeon/default | | batch=1 -->

`make readme` writes the tables, and the figures in sentences (readme_sentences.py); a test asks
whether they are up to date.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from sparsebench import records
from sparsebench.analysis.crossover import ALWAYS, NEVER, crossover, crossover_of
from sparsebench.analysis.grouping import group
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.point import LEAD, Point
from sparsebench.analysis.points import points
from sparsebench.cases import filters
from sparsebench.models import records as models
from sparsebench.models import views as models_views
from sparsebench.scale import records as scale
from sparsebench.scale import views as scale_views
from sparsebench.training.views import folder as trained
from sparsebench.views import tables, units
from sparsebench.views.tables import Table
from tests import scale_tables

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
REFERENCE = ROOT / "results" / "reference"
PHASES = {"forward_backward": "training", "inference": "inference"}
BLOCK = re.compile(r"(<!-- figures: (.+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def updated(text: str) -> str:
    """Return a page with every table as the records have it."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{body(block[2])}\n\n{block[4]}", text)


def body(order: str) -> str:
    """Return the table that a comment asks for, as Markdown."""
    name, columns, conditions = (*(part.strip() for part in order.split("|")), "", "")[:3]
    if name.startswith("machines:"):
        frame = beside(name.removeprefix("machines:"), conditions)
    else:
        folder, _, file = name.rpartition("/")
        table = next(t for t in made(REFERENCE / folder, conditions) if t.name == file)
        frame = table.text
        if not (REFERENCE / folder / records.FILE_NAME).exists():
            frame = rows_of(frame, conditions)
    if columns:
        frame = frame[[column.strip() for column in columns.split(",")]]
    header = "| " + " | ".join(frame.columns) + " |\n" + "|---" * len(frame.columns) + "|"
    rows = ("| " + " | ".join(row) + " |" for row in frame.itertuples(index=False))
    return "\n".join((header, *rows))


def rows_of(frame: pd.DataFrame, conditions: str) -> pd.DataFrame:
    """Return the rows whose cells are what is said: `column=cell`, where * is anything."""
    for condition in filter(None, conditions.split(";")):
        name, _, value = (part.strip() for part in condition.partition("="))
        frame = frame[[fnmatchcase(cell, value) for cell in frame[name]]]
    return frame


def made(folder: Path, conditions: str) -> Iterator[Table]:
    """Yield the tables of the records in `folder` of the cases for which `conditions` hold."""
    file = folder / records.FILE_NAME
    if not file.exists():
        yield from _made_of_others(folder)
        return
    yield from (_made(make, file, conditions) for make in tables.TABLES)


@cache
def _made_of_others(folder: Path) -> list[Table]:
    return [
        *trained.tables_of(folder),
        *scale_views.tables(scale.load(folder)),
        *scale_tables.of(folder, scale.load(folder)),
        *models_views.tables(models.load(folder)),
    ]


@cache
def _made(make: Callable[[Sequence[Point]], Table], file: Path, conditions: str) -> Table:
    return make(points_of(file, conditions))


@cache
def points_of(file: Path, conditions: str) -> list[Point]:
    """Return the points of the cases in a file for which `conditions` hold."""
    asked = [filters.parse(text) for text in conditions.split(";") if text.strip()]
    return points([r for r in _loaded(file) if all(holds(r.case) for holds in asked)])


_loaded = cache(records.load)


def beside(machines: str, conditions: str) -> pd.DataFrame:
    """Return from when on `ours` is faster than dense, and its speed-up at 90%, by machine."""
    cells: dict[tuple[str, int, str], dict[str, str]] = {}
    for machine in machines.split(","):
        title, _, folder = (part.strip() for part in machine.partition("="))
        ours = [
            point
            for point in points_of(REFERENCE / folder / records.FILE_NAME, conditions)
            if point.case.implementation == LEAD and point.case.phase in PHASES
        ]
        for (phase, batch, size), members in group(ours, "phase", "batch", "size").items():
            cells.setdefault((PHASES[phase], batch, size), {})[title] = cell(members)
    order = [*PHASES.values()]
    rows = sorted(cells, key=lambda row: (order.index(row[0]), row[1], int(row[2].split("→")[0])))
    titles = list(dict.fromkeys(title for row in rows for title in cells[row]))
    return pd.DataFrame(
        [
            {"": phase, "batch": str(batch), "size": size}
            | {title: cells[phase, batch, size].get(title, "") for title in titles}
            for phase, batch, size in rows
        ]
    )


def cell(members: list[Point]) -> str:
    """Return where a layer becomes faster than dense, and how much faster it is at 90%.

    On a GPU as a program waits for it, launches included.
    """
    metric = METRICS["speedup"]
    found = crossover(members)
    if any(point.record.wall_samples for point in members):
        metric = METRICS["wall_speedup"]
        both = [(p.baseline, p) for p in members if metric.of(p)]
        found = crossover_of(
            [
                (p.case.sparsity, np.exp(dense.wall.draws - p.wall.draws))
                for dense, p in both
                if dense
            ]
        )
    if found is None:
        return ""
    where = found.sparsity.value
    text = units.sparsity(where)
    if where == ALWAYS:
        text = f"≤ {units.percent(found.lowest)}"
    elif where == NEVER:
        text = f"> {units.percent(found.highest)}"
    for point in members:
        speedup = metric.of(point)
        if point.case.sparsity == 0.9 and speedup is not None:
            text += f" · {units.doubtful(units.interval(speedup), point.unsure)}"
    return text

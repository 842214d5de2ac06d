"""The tables of figures in the README and below docs/, made from the committed records.

On these pages a table stands between two comments, of which the first says what it shows:

    <!-- figures: headline/measurements | implementation, time, speedup | phase=inference -->
    <!-- end -->

that is: the table `measurements` of the records in results/reference/headline; the columns to keep
(all of them, where none is named); what holds for the cases that count, as `--filter` writes it,
separated by semicolons. `make readme` writes the tables; a test asks whether they are up to date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sparsebench import records
from sparsebench.analysis.points import points
from sparsebench.cases import filters
from sparsebench.models import run as models
from sparsebench.models import views as models_views
from sparsebench.scale import run as scale
from sparsebench.scale import views as scale_views
from sparsebench.training import report as trained
from sparsebench.views import tables
from sparsebench.views.tables import Table

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
REFERENCE = ROOT / "results" / "reference"
BLOCK = re.compile(r"(<!-- figures: (.+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def updated(text: str) -> str:
    """Return a page with every table as the records have it."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{body(block[2])}\n\n{block[4]}", text)


def body(order: str) -> str:
    """Return the table that a comment asks for, as Markdown."""
    name, columns, conditions = (*(part.strip() for part in order.split("|")), "", "")[:3]
    folder, _, file = name.rpartition("/")
    table = next(t for t in made(REFERENCE / folder, conditions) if t.name == file)
    frame = table.text
    if columns:
        frame = frame[[column.strip() for column in columns.split(",")]]
    header = "| " + " | ".join(frame.columns) + " |\n" + "|---" * len(frame.columns) + "|"
    rows = ("| " + " | ".join(row) + " |" for row in frame.itertuples(index=False))
    return "\n".join((header, *rows))


def made(folder: Path, conditions: str) -> Iterator[Table]:
    """Yield the tables of the records in `folder` of the cases for which `conditions` hold."""
    file = folder / records.FILE_NAME
    if not file.exists():
        yield from trained.tables_of(folder)
        yield from scale_views.tables(scale.load(folder))
        yield from models_views.tables(models.load(folder))
        return
    asked = [filters.parse(text) for text in conditions.split(";") if text.strip()]
    kept = [r for r in records.load(file) if all(holds(r.case) for holds in asked)]
    shown = points(kept)
    yield from (make(shown) for make in tables.TABLES)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(updated(page.read_text("utf-8")), "utf-8")

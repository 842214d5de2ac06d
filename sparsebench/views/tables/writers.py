"""Tables as files."""

from __future__ import annotations

import io
import re
from csv import writer
from pathlib import Path
from typing import Any

import pandas as pd

from sparsebench.analysis.grouping import CONDITIONS
from sparsebench.views import units
from sparsebench.views.tables.table import Table

# LaTeX sets these only in mathematics, or with packages that not every document loads.
_LATEX = {
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "×": r"$\times$",
    "→": r"$\to$",
    "µ": r"$\mu$",
    "²": r"$^2$",
    "–": "--",
    "<": r"$<$",
    ">": r"$>$",
}


_MOST = 1000  # rows that somebody would read, or typeset


def write(table: Table, folder: Path) -> list[Path]:
    """Write `table` as NAME.md, NAME.csv and NAME.tex; return their paths.

    One of thousands of rows is written as NAME.csv alone, which holds all of it; what an earlier
    one left under the other names is removed.
    """
    paths = []
    for extension, written in (("md", markdown), ("csv", csv), ("tex", latex)):
        path = folder / f"{table.name}.{extension}"
        if extension != "csv" and table.rows > _MOST:
            path.unlink(missing_ok=True)
            continue
        path.write_text(written(table), encoding="utf-8")
        paths.append(path)
    return paths


def markdown(table: Table) -> str:
    """Return the printed form as a GitHub table under its caption."""
    cells = table.text.map(lambda cell: cell.replace("|", r"\|"))
    body = cells.to_markdown(index=False, disable_numparse=True)
    return f"**{table.caption}.** {conditions(table)}\n\n{body}\n"


def csv(table: Table) -> str:
    """Return the numbers, in full precision and in base units."""
    text = io.StringIO()
    lines = writer(text, lineterminator="\n")
    lines.writerow(table.numbers.columns)
    # `to_csv` makes text of a fixed width of each number first, which takes several times as long.
    lines.writerows(zip(*(_cells(column) for _, column in table.numbers.items()), strict=True))
    return text.getvalue()


def _cells(column: pd.Series[Any]) -> list[Any]:
    """Return the cells of a column, "" for what is not known."""
    cells: list[Any] = column.tolist()
    if not column.hasnans:
        return cells
    return [cell if known else "" for cell, known in zip(cells, column.notna(), strict=True)]


def latex(table: Table) -> str:
    r"""Return the printed form as a LaTeX table, for \usepackage{booktabs}."""
    body = table.text.to_latex(
        index=False,
        escape=True,
        caption=f"{table.caption}. {conditions(table)}".strip(),
        label=f"tab:{table.name}",
        position="tbp",
    )
    for character, command in _LATEX.items():
        body = body.replace(character, command)
    return body


def conditions(table: Table) -> str:
    """Return the conditions that all rows share and that the text leaves out, as a sentence.

    And what the mark of disturbed times means, where there are some.
    """
    names = [c for c in CONDITIONS if c in table.numbers and c not in table.text]
    values = {name: table.numbers[name].iloc[0] for name in names}
    parts = [f"{name}: {value}" for name, value in values.items() if value != ""]
    cells = table.text.astype(str).stack()
    if any(cells.str.fullmatch(rf".*[×sB{units.UNKNOWN}]{re.escape(units.DISTURBED)}(?: \(.*\))?")):
        parts.append(units.DISTURBED_MEANS)
    return "; ".join(parts) + "." if parts else ""

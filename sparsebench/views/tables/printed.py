"""Any table as it is printed in a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from sparsebench.views.tables.table import Table


def printed(table: Table, *, whole: int = 1) -> RenderableType:
    """Return `table` under its caption; of its columns the first `whole` are never wrapped.

    Columns of figures stand flush right.
    """
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    for number, title in enumerate(table.text.columns):
        figures = all(_is_figure(cell) for cell in table.text[title])
        grid.add_column(str(title), justify="right" if figures else "left", no_wrap=number < whole)
    for row in table.text.itertuples(index=False):
        grid.add_row(*map(Text, row))
    return Group(Text(table.caption, style="bold"), grid, "")


def _is_figure(cell: str) -> bool:
    """Whether a cell is empty, says that there is none, or begins with a digit."""
    return not cell or cell.startswith("not ") or cell.lstrip("+-−")[:1].isdigit()

"""Tables and plots of training records; nothing is measured here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from sparsebench.training import curves, records
from sparsebench.training.cifar import format_records
from sparsebench.training.cifar.format_records import FILE_NAME as FORMATS
from sparsebench.training.curves import FILE_NAME as CURVES
from sparsebench.training.records import FILE_NAME as TRAINING
from sparsebench.training.views import curves_plot, curves_table, formats_table, plots, tables
from sparsebench.views.plots.style import save, styled
from sparsebench.views.tables import Table, printed, write


def folders(source: Path) -> list[Path]:
    """Return the folders at and below `source` that hold training or curves records."""
    if source.is_file():
        return []
    files = [path for name in (TRAINING, CURVES, FORMATS) for path in source.rglob(name)]
    return sorted({path.parent for path in files})


def show(folder: Path, console: Console, *, out: Path | None = None) -> None:
    """Write tables and plots of the records in `folder` beside them, and print the tables."""
    for table in write_all(folder, out or folder):
        console.print(printed(table))


def print_json(folder: Path, console: Console) -> None:
    """Write tables and plots as `show` does, and print the tables as JSON, by their names."""
    del console  # JSON is not for a terminal
    made = write_all(folder, folder)
    plain = {
        table.name: {
            "caption": table.caption,
            "rows": json.loads(table.numbers.to_json(orient="records")),
        }
        for table in made
    }
    print(json.dumps(plain))


def tables_of(source: Path) -> list[Table]:
    """Return every table of the records of training, of curves and of models below `source`."""
    return [
        *tables.of_training(records.load(source)),
        *curves_table.of(curves.load(source)),
        *formats_table.of(format_records.load(source)),
    ]


def rows(source: Path) -> list[dict[str, Any]]:
    """Return every row of the tables of `source`, with its folder and its table's name."""
    return [
        {"folder": str(source), "table": table.name} | row
        for table in tables_of(source)
        for row in json.loads(table.numbers.to_json(orient="records"))
    ]


def write_all(source: Path, folder: Path) -> list[Table]:
    """Write `folder`/tables and `folder`/plots of the records below `source`; return the tables."""
    trained, compared = records.load(source), curves.load(source)
    made = tables_of(source)
    for name in ("tables", "plots"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for table in made:
        write(table, folder / "tables")
    with styled():
        for name, figure in (*plots.of_training(trained), *curves_plot.of(compared)):
            save(figure, folder / "plots" / name)
    return made

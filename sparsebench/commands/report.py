"""`sparsebench report`: tables and plots from records."""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from sparsebench import output, records
from sparsebench.analysis.points import points
from sparsebench.cases.case import Case
from sparsebench.errors import InputError
from sparsebench.output import console, errors
from sparsebench.records import Record
from sparsebench.records.store import uncollected

# Records, and bytes of them, from which on it takes long enough to say what is being done.
_MANY, _LARGE = 5000, 5_000_000


def report(
    source: Annotated[
        list[Path], typer.Argument(help="Records: files, or folders that hold some.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where to write; beside each file of records by default.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write one HTML page about everything there, that needs no network."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write nothing; print every case and metric as JSON.")
    ] = False,
) -> None:
    """Write tables and plots from records, or one page about all of them; measure nothing."""
    for path in source:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
    if as_json:
        _rows(source)
        return
    if html is None:
        for path in source:
            _files(path, out)
        return
    # The chapters of training and of checks join the page when they are imported.
    import sparsebench.regression.chapters  # pandas and matplotlib
    import sparsebench.training.chapters  # noqa: F401  # pandas and matplotlib
    from sparsebench.views import page  # pandas

    files = (file for path in source for file in records.files(path))
    many = sum(file.stat().st_size for file in files) > _LARGE
    with Progress("reading", many=many) as progress:
        found = page.write(source, html, told=progress.told)
    size = html.stat().st_size / 1e6
    console.print(
        f"{html}: {', '.join(chapter.name for chapter in found)}; {size:.1f} MB",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _rows(sources: list[Path]) -> None:
    """Print every record as JSON, and every row of the tables of training."""
    from sparsebench.training.views import folder as trained  # pandas and matplotlib

    found = [record for source in sources for record in records.load(source)]
    folders = [folder for source in sources for folder in trained.folders(source)]
    if not found and not folders:
        raise InputError(f"{', '.join(map(str, sources))}: no records there")
    rows = [row for folder in folders for row in trained.rows(folder)]
    typer.echo(json.dumps(_plain(found) + rows))


def _files(source: Path, out: Path | None) -> None:
    """Write the tables and plots of each file of records at and below `source`."""
    files = records.files(source)
    from sparsebench.training.views import folder as trained  # pandas and matplotlib

    folders = trained.folders(source)
    if not files and not folders:
        raise InputError(f"{source}: holds no {records.FILE_NAME}, and no records of training")
    for folder in folders:
        trained.show(folder, console, out=out)
    for file in files:
        with Progress(f"reading {file}", many=file.stat().st_size > _LARGE):
            found = records.load(file)
        if not found:
            raise InputError(f"{file}: holds no record")
        show(found, out or file.parent)


def show(found: list[Record], folder: Path, *, of: Set[Case] | None = None) -> None:
    """Write tables and plots into `folder`; print the table, or JSON of the cases `of`."""
    from sparsebench.views import folder as written  # pandas: not while cases are measured
    from sparsebench.views import tables  # pandas

    with Progress(f"points of {len(found)} records", many=len(found) > _MANY) as progress:
        with uncollected():
            every = points(found)
        written.write_points(every, folder, told=progress.told)
    if of is None:
        output.show(tables.terminal_of(every))
    else:
        print_json([record for record in found if record.case in of])


class Progress:
    """What is being done, on the errors: a line that changes, or lines where there is `many` to do.

    `first` is done first.
    """

    def __init__(self, first: str, *, many: bool) -> None:
        self._first, self._lines = first, many and not errors.is_terminal
        self._status = errors.status("")

    def __enter__(self) -> Progress:
        if errors.is_terminal:
            self._status.start()
        self.told(self._first)
        return self

    def __exit__(self, *exception: object) -> None:
        self._status.stop()

    def told(self, what: str) -> None:
        """Say what comes next."""
        self._status.update(escape(what))
        if self._lines:
            errors.print(what, highlight=False, markup=False, soft_wrap=True)


def print_json(found: list[Record]) -> None:
    """Print every metric of records as JSON, a row for each."""
    typer.echo(json.dumps(_plain(found)))


def _plain(found: list[Record]) -> list[dict[str, Any]]:
    from sparsebench.views.frames import frame_of  # pandas

    return list(json.loads(frame_of(found).to_json(orient="records"))) if found else []

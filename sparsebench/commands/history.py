"""`sparsebench history`: the ratios of all checks, over commits."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from sparsebench import output
from sparsebench.output import console
from sparsebench.regression.results import FOLDER


def history(
    source: Annotated[Path, typer.Argument(help="The folder of the checks' results.")] = FOLDER,
    out: Annotated[
        Path | None, typer.Option(help="Where to write table and plot; beside them by default.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write nothing; print every ratio as JSON.")
    ] = False,
) -> None:
    """Plot what `sparsebench check` found over commits, and print the last of each ratio.

    Where ratios over the same base, or over another implementation, changed for good is marked:
    give all checks one --base for that. A change is seen five commits later.
    """
    from sparsebench.regression import history as of_checks  # pandas

    entries = of_checks.load(source)
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in entries]))
        return
    from sparsebench.regression import plot as histories  # matplotlib
    from sparsebench.views.plots import save  # matplotlib
    from sparsebench.views.tables import write  # pandas

    folder = out or source
    folder.mkdir(parents=True, exist_ok=True)
    every = of_checks.table(entries)
    write(every, folder)
    save(histories.history(entries), folder / "history")
    last = {(e.workload, e.measure, e.against): n for n, e in enumerate(entries)}
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for title in every.text.columns:
        shown.add_column(title, no_wrap=title != "workload", overflow="ellipsis")
    for number in sorted(last.values()):
        shown.add_row(*map(str, every.text.iloc[number]))
    output.show(shown)
    for entry in entries:
        if entry.change is not None:
            console.print(
                f"{entry.workload}, {entry.measure} over {entry.against}: "
                f"{entry.change:.3f} times as much from {entry.commit} on",
                highlight=False, markup=False, soft_wrap=True,
            )  # fmt: skip
    count = len(of_checks.commits(entries))
    console.print(
        f"{len(entries)} ratios of {count} commits: {folder}/history.png, .svg, .csv, .md, .tex",
        highlight=False,
        soft_wrap=True,
    )

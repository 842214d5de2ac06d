"""`sparsebench scale`: what a layer costs per connection, from 10⁴ to 10⁸ of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sparsebench.errors import InputError
from sparsebench.measuring import machine
from sparsebench.output import console, errors
from sparsebench.scale.records import ScaleCase, load
from sparsebench.scale.run import run

WIDTHS = [10**3, 3 * 10**3, 10**4, 3 * 10**4, 10**5, 3 * 10**5, 10**6]


def scale(
    width: Annotated[
        list[int] | None, typer.Option(help="Inputs and outputs; may be repeated. 10³ to 10⁶.")
    ] = None,
    per_output: Annotated[
        list[int] | None, typer.Option(help="Connections of an output; may be repeated. 10, 100.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1)] = 16,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the records.")] = Path("results/scale"),
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for one layer.")] = 600.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Measure time and bytes per connection of layers up to 10⁶ wide with 10⁸ connections.

    Construction, inference, a training step, rewiring, saving and loading. What has a record is
    skipped; a layer for which memory does not suffice is a record that says so.
    """
    from sparsebench.scale import views  # pandas and matplotlib

    widths, degrees = width or WIDTHS, per_output or [10, 100]
    for each in widths:
        for degree in degrees:
            if not 1 <= degree < each:
                raise InputError(
                    f"--per-output must be from 1 to below --width, got {degree} and {each}"
                )
    threads = threads or machine.default_threads()
    cases = [
        ScaleCase(width=w, per_output=degree, batch=batch, threads=threads)
        for degree in degrees
        for w in widths
    ]
    talk = errors if as_json else console  # JSON has the output to itself
    for record in run(cases, out, timeout_s=timeout):
        outcome = "" if record.status == "ok" else f": {record.status}: {record.message}"
        talk.print(
            f"{record.case.width} wide, {record.case.connections:.0e} connections{outcome}",
            highlight=False,
            soft_wrap=True,
        )
    records = load(out)
    views.write(records, out, talk)
    if as_json:
        typer.echo(json.dumps(views.plain(records)))

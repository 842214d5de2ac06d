"""`sparsebench export`: records for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparsebench import records
from sparsebench.errors import InputError
from sparsebench.output import console


def export(
    source: Annotated[Path, typer.Argument(help="Records: a file, or a folder that holds some.")],
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    to: Annotated[
        str, typer.Option("--format", help="parquet, pytest-benchmark, or asv.")
    ] = "parquet",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file if it is there.")
    ] = False,
) -> None:
    """Write records in another tool's format."""
    from sparsebench.views.exports import FORMATS  # pandas: not for commands that measure

    if to not in FORMATS:
        raise InputError(f"--format {to}: choose from {', '.join(FORMATS)}")
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    if out.exists() and not overwrite:
        raise InputError(f"{out} is there already; choose another name, or say --overwrite")
    found = records.load(source)
    if not found:
        raise InputError(f"{source}: holds no record")
    FORMATS[to](found, out)
    console.print(f"{out}: {len(found)} records", highlight=False, markup=False, soft_wrap=True)

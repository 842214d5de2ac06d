"""`sparsebench site`: the records of many machines as a folder of pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from sparsebench.errors import InputError
from sparsebench.output import console, errors

_RESULTS = Path("results")


def site(
    folder: Annotated[Path, typer.Argument(help="The folder to write, to be put on any server.")],
    source: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RECORDS]...", help="Files of records, or folders that hold some; results."
        ),
    ] = None,
) -> None:
    """Write a static site about the records of many machines, that needs no network.

    Its first page says for each machine and layer what is fastest, by how much, in which memory
    and how sure that is; it has leagues, machines side by side and the history. Files that are
    there already are replaced, others are left.
    """
    sources = source or [_RESULTS]
    for path in sources:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder to write")
    # The chapters of training and of checks join the site when they are imported.
    import sparsebench.regression.chapters  # pandas and matplotlib
    import sparsebench.training.chapters  # noqa: F401  # pandas and matplotlib
    from sparsebench.views import site as pages  # pandas

    with errors.status("reading records") as status:
        written = pages.write(folder, sources, told=lambda what: status.update(escape(what)))
    size = sum(path.stat().st_size for path in written) / 1e6
    console.print(
        f"{folder / 'index.html'}: {len(written)} files, {size:.1f} MB",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip

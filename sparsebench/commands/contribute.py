"""`sparsebench contribute`: records made fit to be given away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sparsebench import records
from sparsebench.errors import InputError
from sparsebench.output import console
from sparsebench.records import contribution, store

_WHERE = """\
Look at what is in there. Then, to give it away, copy the file into results/contributed/ of a \
clone and open a pull request, or send it to whoever keeps the site. To see it beside others:
    sparsebench site SITE {out} results/reference"""


def contribute(
    source: Annotated[
        list[Path],
        typer.Argument(metavar="RECORDS...", help="Files of records, or folders that hold some."),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write into.")] = Path("contribution"),
) -> None:
    """Check records, strip what is private, and write them as files to be given away.

    Each machine gets a file that is named by its processor, its identity and a digest of the
    content. Nothing is sent anywhere. A line that is no record, or cannot be true, is an error
    that names file, line and field, and nothing is written.
    """
    files = []
    for path in source:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        if not (found := records.files(path)):
            raise InputError(f"{path}: holds no {records.FILE_NAME}")
        files += found
    every = store.merge(record for file in files for record in contribution.read(file))
    out.mkdir(parents=True, exist_ok=True)
    taken: dict[str, None] = {}
    for made in contribution.contributions(every):
        (out / made.name).write_bytes(made.content)
        _say(f"{out / made.name}: {len(made.records)} records")
        taken |= dict.fromkeys(made.taken)
    _say("Kept: the case, status, message, samples, memory, errors and quality of each record; and")
    for place, names in contribution.KEPT.items():
        _say(f"    {place}: {', '.join(names)}")
    _say(f"Taken out: {', '.join(taken) if taken else 'nothing; there was nothing else'}.")
    _say(_WHERE.format(out=out))


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)

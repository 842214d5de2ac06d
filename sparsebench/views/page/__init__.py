"""The report as one HTML page that needs nothing else: no network, no other file.

`chapters` of sweeps are made here; those of other rooms register themselves, and the page knows
none of them. `render` and the templates beside it lay out what `tables` and `plots` make.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from sparsebench.analysis.matrices import drawn
from sparsebench.errors import InputError
from sparsebench.records.store import uncollected
from sparsebench.views.page.chapter import Chapter
from sparsebench.views.page.chapters import chapters
from sparsebench.views.page.explorer import explored
from sparsebench.views.page.machines import machines
from sparsebench.views.page.render import rendered
from sparsebench.views.page.summary import sentences

MOST_ROWS = 60  # of a table, above which it is one to search


def write(
    sources: Sequence[Path], path: Path, *, told: Callable[[str], None] = lambda what: None
) -> list[Chapter]:
    """Write the page about all records at and below `sources` to `path`; return what it holds.

    `told` is called with what is read and drawn next. Raises InputError where there is no record.
    """
    with uncollected():  # figures refer to themselves in circles: there is little to be freed
        found = chapters(sources, told=told)
        if not found:
            names = ", ".join(map(str, sources))
            raise InputError(f"{names}: no records to report; measure some with `sparsebench run`")
        told("pictures")
        text = rendered(
            "page.html.j2",
            chapters=found,
            explored=explored(found),
            most=MOST_ROWS,
            home="",
            files={},
            machines=[asdict(machine) for machine in machines(found)],
            # Where no script runs: from chapter to conditions to sentences.
            said={c.name: said for c in found if (said := sentences(drawn(c.points)))},
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return found

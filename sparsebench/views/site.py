"""A folder of pages about the records of many machines: static, and offline."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sparsebench.analysis.matrices import drawn
from sparsebench.analysis.points import points
from sparsebench.errors import InputError
from sparsebench.views.page import MOST_ROWS
from sparsebench.views.page.chapter import Chapter
from sparsebench.views.page.chapters import chapters
from sparsebench.views.page.explorer import explored
from sparsebench.views.page.machines import machines
from sparsebench.views.page.render import rendered
from sparsebench.views.page.summary import sentences
from sparsebench.views.tables.ours_by_machine import ours_by_machine
from sparsebench.views.tables.standings import standings
from sparsebench.views.tables.states import history


@dataclass(frozen=True)
class File:
    """A copy of a file of records: its address within the site, and what it is."""

    address: str
    digest: str
    kilobytes: float


def write(
    folder: Path, sources: Sequence[Path], *, told: Callable[[str], None] = lambda what: None
) -> list[Path]:
    """Write the site about all records at and below `sources` into `folder`; return its files.

    `index.html` has the explorer, leagues, machines side by side and the history; a page for each
    sweep and experiment has its plots and tables; `records/` has what all of it was made of. `told`
    is called with what is written next. Raises InputError where there is no record.
    """
    found = chapters(sources)
    if not found:
        names = ", ".join(map(str, sources))
        raise InputError(f"{names}: no records there; measure some with `sparsebench run`")
    folder.mkdir(parents=True, exist_ok=True)
    addresses = {chapter.name: f"{_slug(chapter.name)}.html" for chapter in found}
    files: dict[str, list[File]] = {}
    written = []
    for chapter in found:
        told(chapter.name)
        files[chapter.name] = [_copied(source, folder) for source in chapter.sources]
        written += [folder / file.address for file in files[chapter.name]]
        about = rendered(
            "page.html.j2", chapters=[chapter], explored=explored([chapter]), most=MOST_ROWS,
            machines=[asdict(machine) for machine in machines([chapter])],
            said=_said([chapter]), home="index.html", files=files,
        )  # fmt: skip
        written.append(_written(folder / addresses[chapter.name], about))
    told("index")
    records = [p.record for chapter in found for p in chapter.points]
    every = points(records)
    index = rendered(
        "site.html.j2", chapters=found, explored=explored(found), most=MOST_ROWS,
        machines=[asdict(machine) for machine in machines(found)], said=_said(found),
        addresses=addresses, files=files, cases=len(every),
        leagues=standings(drawn(every)), together=ours_by_machine(every), history=history(records),
    )  # fmt: skip
    return [*written, _written(folder / "index.html", index)]


def _said(found: Sequence[Chapter]) -> dict[str, dict[str, list[str]]]:
    return {c.name: said for c in found if (said := sentences(drawn(c.points)))}


def _copied(source: Path, folder: Path) -> File:
    """Copy a file of records, compressed, under a name that says nothing of where it lay."""
    content = source.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:12]
    address = f"records/{_slug(source.resolve().parent.name)}-{digest}.jsonl.gz"
    packed = gzip.compress(content, mtime=0)
    (folder / "records").mkdir(exist_ok=True)
    (folder / address).write_bytes(packed)
    return File(address, digest, len(packed) / 1000)


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "records"

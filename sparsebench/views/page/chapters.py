"""What the page says, in order: a chapter for each sweep and each experiment, of sections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from sparsebench import records
from sparsebench.analysis.matrices import drawn as without_files
from sparsebench.analysis.points import points
from sparsebench.analysis.questions import pays
from sparsebench.records import Record
from sparsebench.views import plots, tables
from sparsebench.views.page import commands
from sparsebench.views.page.chapter import Chapter, Section
from sparsebench.views.page.maps import crossover_maps, speedup_maps
from sparsebench.views.tables import Table

Finder = Callable[[Sequence[Path]], list[Chapter]]
_FINDERS: list[Finder] = []


def register(finder: Finder) -> Finder:
    """Let `finder` add chapters about what it finds at and below the sources of a page."""
    if finder not in _FINDERS:
        _FINDERS.append(finder)
    return finder


def chapters(
    sources: Sequence[Path], *, told: Callable[[str], None] = lambda what: None
) -> list[Chapter]:
    """Return the chapters about the records at and below `sources`, sweeps first.

    `told` is called with the name of the next one.

    Files of several machines whose folders have the same name are one chapter, machines side by
    side: ratios are never taken between them.
    """
    files: dict[str, list[Path]] = {}
    for source in sources:
        for path in records.files(source):
            files.setdefault(name_of(path.parent), []).append(path)
    made = []
    for name, paths in files.items():
        told(f"chapter {name}")
        found = records.merge(record for path in paths for record in records.load(path))
        if found:
            made.append(_measured(name, found, paths))
    return made + [chapter for finder in _FINDERS for chapter in finder(sources)]


def name_of(folder: Path) -> str:
    """Return the name of the chapter about the records in `folder`."""
    return folder.resolve().name


def _measured(name: str, found: Sequence[Record], paths: Sequence[Path]) -> Chapter:
    every = points(found)
    layers = pays(without_files(every))
    made = {table.name: table for table in tables.tables(every)}
    figures = list(plots.figures(every))

    def drawn(*kinds: str) -> list[tuple[str, Figure]]:
        return [(n, figure) for n, figure in figures if n.split("-")[0] in kinds]

    def of(*names: str) -> list[Table]:
        return [made[n] for n in names if n in made]

    sections = [
        Section(
            "Where sparse pays",
            "The sparsity from which an implementation is faster than the dense layer at every "
            "sparsity measured above it, with its 95% interval.",
            drawn("headline", "crossover"), of("summary"), crossover_maps(layers),
        ),
        Section(
            "Speed-up over dense",
            "Time of the dense layer over this one's on the same problem, measured beside it.",
            drawn("speedup"), of("baselines", "dense"), speedup_maps(layers),
        ),
        Section(
            "Which structure",
            "Blocks, N of every M and as many inputs for every output, beside random connections "
            "of the same sparsity.",
            drawn("structures"), of("structures"),
        ),
        Section(
            "Layers of networks",
            "Speed-up over dense of every layer that was measured.",
            drawn("layers"),
        ),
        Section(
            "On a GPU",
            "From end to end, launches included, as a program waits for it; and by the device's "
            "own clock.",
            (), of("end-to-end", "graphs", "gpu", "tensor-cores"),
        ),
        Section(
            "Sparse or quantised?",
            "Inference in the ways in which layers are deployed: time, memory, and the error of "
            "the output.",
            drawn("deploy"), of("deploy"),
        ),
        Section(
            "Time",
            "The median time of a call; bands are 95% intervals of the median.",
            drawn("time", "threads"), of("cliffs", "machines"),
        ),
        Section(
            "Memory",
            "What the module holds and what a call adds at its peak, beside what the mathematics "
            "needs.",
            drawn("memory"), of("memory"),
        ),
        Section(
            "Roofline",
            "Useful operations a second, under what this machine's arithmetic and memory allow.",
            drawn("roofline"),
        ),
        Section(
            "League of implementations",
            "How far each is behind the fastest of the same problem, in the geometric mean.",
            drawn("league"), of("league", "lead"),
        ),
        Section(
            "How connections lie",
            "What making a layer takes, its connections included, and time over that of random "
            "ones.",
            drawn("construction"), of("construction", "topologies"),
        ),
        Section(
            "Connections that change",
            "A training step with its share of a rewiring, and what a rewiring takes by itself.",
            drawn("dynamic"), of("dynamic"),
        ),
        Section(
            "K-winners",
            "The activation beside ReLU, which `dense` stands for here, and what layers gain from "
            "zeros in their input.",
            drawn("k", "zeros"), of("k-winners", "zeros"),
        ),
        Section(
            "Matrices from files",
            "Every matrix is a point; lines are geometric means over bands of sparsity.",
            drawn("matrices"), of("matrices-network", "matrices-sparsity"),
        ),
        Section("Cases without a time", "What failed or was refused, and why.", (), of("failures")),
        Section(
            "All measurements", "Every case. Type to filter, click a heading to sort.", (),
            of("measurements"), searchable=True,
        ),
    ]  # fmt: skip
    what, command = commands.again(name, every)
    return Chapter(name, command, list(filled(sections)), every, paths, what)


def filled(sections: Sequence[Section]) -> Iterator[Section]:
    """Leave out what has nothing below its heading."""
    for section in sections:
        if section.figures or section.tables or section.maps:
            yield section

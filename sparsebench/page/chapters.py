"""What the page says, in order: a chapter for each sweep and each experiment, of sections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from experiments import campaign, curves
from experiments import plots as trained_plots
from experiments import report as trained_report
from experiments import tables as trained_tables
from experiments.cifar import model_records
from experiments.cifar.tables import of_models
from sparsebench import plots, records, tables
from sparsebench.page.maps import HeatMap, crossover_maps, speedup_maps
from sparsebench.page.summary import sentences
from sparsebench.plots.style import styled
from sparsebench.points import points
from sparsebench.records import Record
from sparsebench.tables import Table


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it."""

    title: str
    explanation: str
    figures: Sequence[tuple[str, Figure]] = ()
    tables: Sequence[Table] = ()
    maps: Sequence[HeatMap] = ()
    searchable: bool = False


@dataclass(frozen=True)
class Chapter:
    """All records of one sweep or experiment, of whatever machines."""

    name: str
    command: str
    summary: Mapping[str, Sequence[str]]
    sections: Sequence[Section]
    records: Sequence[Record] = field(default=(), repr=False)


def chapters(sources: Sequence[Path]) -> list[Chapter]:
    """Return the chapters about the records at and below `sources`.

    Files of several machines whose folders have the same name are one chapter, machines side by
    side: ratios are never taken between them.
    """
    files: dict[str, list[Path]] = {}
    trained: dict[str, list[Path]] = {}
    for source in sources:
        for path in [source] if source.is_file() else sorted(source.rglob(records.FILE_NAME)):
            files.setdefault(_name(path.parent), []).append(path)
        for folder in trained_report.folders(source):
            trained.setdefault(_name(folder), []).append(folder)
    made = []
    for name, paths in files.items():
        found = records.merge(record for path in paths for record in records.load(path))
        if found:
            made.append(_measured(name, found))
    for name, folders in trained.items():
        made += _trained(name, folders)
    return made


def _name(folder: Path) -> str:
    return folder.resolve().name


def _measured(name: str, found: Sequence[Record]) -> Chapter:
    every = points(found)
    figures = list(plots.figures(every))
    made = {table.name: table for table in tables.tables(every)}

    def drawn(*kinds: str) -> list[tuple[str, Figure]]:
        return [(n, figure) for n, figure in figures if n.split("-")[0] in kinds]

    def of(*names: str) -> list[Table]:
        return [made[n] for n in names if n in made]

    sections = [
        Section(
            "Where sparse pays",
            "The sparsity from which an implementation is faster than the dense layer at every "
            "sparsity measured above it, with its 95% interval.",
            drawn("headline", "crossover"), of("summary"), crossover_maps(every),
        ),
        Section(
            "Speed-up over dense",
            "Time of the dense layer over this one's on the same problem, measured beside it.",
            drawn("speedup"), (), speedup_maps(every),
        ),
        Section(
            "Time",
            "The median time of a call; bands are 95% intervals of the median.",
            drawn("time", "scaling", "threads"),
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
            drawn("league"), of("standings"),
        ),
        Section("Cases without a time", "What failed or was refused, and why.", (), of("failures")),
        Section(
            "All measurements", "Every case. Type to filter, click a heading to sort.", (),
            of("measurements"), searchable=True,
        ),
    ]  # fmt: skip
    return Chapter(
        name, f"sparsebench run {name}", sentences(every), list(_filled(sections)), found
    )


def _filled(sections: Sequence[Section]) -> Iterator[Section]:
    for section in sections:
        if section.figures or section.tables or section.maps:
            yield section


_TRAINED: dict[str, Callable[[str], bool]] = {
    "Curves": lambda name: name != "pareto",
    "Accuracy against its cost": lambda name: name == "pareto",
}


def _trained(name: str, folders: Sequence[Path]) -> list[Chapter]:
    runs = [run for folder in folders for run in campaign.load(folder)]
    compared = [curve for folder in folders for curve in curves.load(folder)]
    models = [record for folder in folders for record in model_records.load(folder)]
    made = [
        *trained_tables.of_training(runs),
        *trained_tables.of_curves(compared),
        *of_models(models),
    ]
    if not made:
        return []
    with styled():
        figures = [*trained_plots.of_training(runs), *trained_plots.of_curves(compared)]
    sections = [Section("Results", "", (), made)]
    for title, wanted in _TRAINED.items():
        sections.append(Section(title, "", [f for f in figures if wanted(f[0])]))
    return [Chapter(name, f"sparsebench train {name}", {}, list(_filled(sections)))]

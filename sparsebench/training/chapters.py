"""The chapters of the page about networks that were trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sparsebench.training import curves, records
from sparsebench.training.cifar import format_records
from sparsebench.training.views import (
    curves_plot,
    curves_table,
    folder,
    formats_table,
    plots,
    structured,
    tables,
)
from sparsebench.views.page.chapter import Chapter, Section
from sparsebench.views.page.chapters import filled, name_of, register
from sparsebench.views.plots.style import styled


def _is_of_costs(name: str) -> bool:
    return name == "pareto" or name.startswith(structured.EXPERIMENTS)


_SECTIONS: dict[str, Callable[[str], bool]] = {
    "Curves": lambda name: not _is_of_costs(name),
    "Accuracy against its cost": _is_of_costs,
}


@register
def chapters(sources: Sequence[Path]) -> list[Chapter]:
    """Return a chapter for each experiment that has records at and below `sources`."""
    experiments: dict[str, list[Path]] = {}
    for source in sources:
        for path in folder.folders(source):
            experiments.setdefault(name_of(path), []).append(path)
    return [chapter for name, found in experiments.items() for chapter in _about(name, found)]


def _about(name: str, folders: Sequence[Path]) -> list[Chapter]:
    runs = [run for path in folders for run in records.load(path)]
    compared = [curve for path in folders for curve in curves.load(path)]
    pruned = [record for path in folders for record in format_records.load(path)]
    made = [*tables.of_training(runs), *curves_table.of(compared), *formats_table.of(pruned)]
    if not made:
        return []
    with styled():
        figures = [*plots.of_training(runs), *curves_plot.of(compared)]
    sections = [Section("Results", "", (), made)]
    for title, wanted in _SECTIONS.items():
        sections.append(Section(title, "", [f for f in figures if wanted(f[0])]))
    return [Chapter(name, f"sparsebench train {name}", list(filled(sections)))]

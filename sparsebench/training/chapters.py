"""The chapters of the page about networks that were trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sparsebench.training import curves, records
from sparsebench.training.cifar import model_records
from sparsebench.training.cifar.tables import of_models
from sparsebench.training.views import plots, report, structures_plot, tables
from sparsebench.views.page.chapter import Chapter, Section
from sparsebench.views.page.chapters import filled, name_of, register
from sparsebench.views.plots.style import styled


def _is_of_costs(name: str) -> bool:
    return name == "pareto" or name.startswith(structures_plot.EXPERIMENTS)


_SECTIONS: dict[str, Callable[[str], bool]] = {
    "Curves": lambda name: not _is_of_costs(name),
    "Accuracy against its cost": _is_of_costs,
}


@register
def chapters(sources: Sequence[Path]) -> list[Chapter]:
    """Return a chapter for each experiment that has records at and below `sources`."""
    experiments: dict[str, list[Path]] = {}
    for source in sources:
        for folder in report.folders(source):
            experiments.setdefault(name_of(folder), []).append(folder)
    return [chapter for name, found in experiments.items() for chapter in _about(name, found)]


def _about(name: str, folders: Sequence[Path]) -> list[Chapter]:
    runs = [run for folder in folders for run in records.load(folder)]
    compared = [curve for folder in folders for curve in curves.load(folder)]
    models = [record for folder in folders for record in model_records.load(folder)]
    made = [*tables.of_training(runs), *tables.of_curves(compared), *of_models(models)]
    if not made:
        return []
    with styled():
        figures = [*plots.of_training(runs), *plots.of_curves(compared)]
    sections = [Section("Results", "", (), made)]
    for title, wanted in _SECTIONS.items():
        sections.append(Section(title, "", [f for f in figures if wanted(f[0])]))
    return [Chapter(name, f"sparsebench train {name}", list(filled(sections)))]

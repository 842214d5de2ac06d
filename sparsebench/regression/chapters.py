"""The chapter of the page about the history of checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sparsebench.records.store import files_at
from sparsebench.regression import history, plot
from sparsebench.regression.results import Checks, WireChecks
from sparsebench.views.page.chapter import Chapter, Section
from sparsebench.views.page.chapters import register

_NAMES = (Checks.file_name, WireChecks.file_name)


@register
def chapters(sources: Sequence[Path]) -> list[Chapter]:
    """Return a chapter about all checks at and below `sources` that are folders, if there are."""
    folders = [source for source in sources if source.is_dir()]
    files = [file for source in folders for name in _NAMES for file in files_at(source, name)]
    if not files:
        return []
    holding = [source for source in folders if any(f.is_relative_to(source) for f in files)]
    entries = [entry for source in holding for entry in history.load(source)]
    entries.sort(key=lambda entry: entry.started)
    section = Section(
        "Ratios by commit",
        "What `sparsebench check` found: head over base, or ours over a rival; below 1 is better.",
        [("history", plot.history(entries))], [history.table(entries)],
    )  # fmt: skip
    return [Chapter("checks", "sparsebench check", [section], (), files)]

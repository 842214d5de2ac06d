"""Layers that differ in the structure of their connections alone, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from sparsebench.analysis.grouping import CONDITIONS, group
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.order import main_phases
from sparsebench.analysis.point import LEAD, Point
from sparsebench.cases.topologies.structured import STRUCTURED, UNSTRUCTURED

# By the names of topologies, in the order of tables and plots; random connections have none.
_NAMES = {"random": UNSTRUCTURED, **STRUCTURED}
_OTHER = tuple(name for name in CONDITIONS if name != "topology")


def by_structure(points: Sequence[Point]) -> list[dict[str, Point]]:
    """Return the points of `ours` that have a speed-up by their structure, a dict for each problem.

    Of problems that were timed with a structure; unstructured connections that are as sparse come
    first where they were timed too.
    """
    phases = set(main_phases(points))
    timed = [
        p
        for p in points
        if p.case.implementation == LEAD
        and p.case.topology in _NAMES
        and p.case.phase in phases
        and METRICS["speedup"].of(p) is not None
    ]
    found = []
    for members in group(timed, *_OTHER, "phase", "batch", "size", "sparsity").values():
        of = {p.case.topology: p for p in members}
        if not of.keys() <= {"random"}:
            found.append(
                {name: of[topology] for topology, name in _NAMES.items() if topology in of}
            )
    return found


def names(problems: Sequence[dict[str, Point]]) -> list[str]:
    """Return the structures of all `problems`, in the order of tables and plots."""
    return [name for name in _NAMES.values() if any(name in problem for problem in problems)]

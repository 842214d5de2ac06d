"""Whether there are such connections at all: what nobody could draw was asked for by mistake.

Where a topology has none for some layers of a sweep, as blocks that do not divide one of its
widths, those cases are rows that say so: a product of fields has such corners. Where it has none
for any of them, what was asked is wrong, and is said before anything is measured.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from sparsebench.cases.case import Case
from sparsebench.cases.topologies import TOPOLOGIES, Undrawable, draw
from sparsebench.cases.weights import matrix_name
from sparsebench.extensions import HERE
from sparselayers.topologies.keys import number_of_connections

# What is drawn to see whether it can be: that takes milliseconds. Larger layers that have
# connections at all have room for any topology.
_FEW, _SMALL = 10_000, 2**22  # connections, weights


def never(cases: Iterable[Case]) -> dict[str, str]:
    """Return the topologies that have none of the connections that `cases` ask of them, and why.

    Those of other distributions are not among them: they answer when they are measured.
    """
    asked: dict[str, dict[tuple[int, int, float], Case]] = {}
    for case in cases:
        if _is_drawn(case):
            layer = case.out_features, case.columns, case.sparsity
            asked.setdefault(case.topology, {}).setdefault(layer, case)
    wrong = {}
    for topology, layers in asked.items():
        # The one with most connections first: it can mostly be drawn, and says so at once.
        ordered = sorted(layers.values(), key=lambda case: -case.nnz)
        if not any(undrawable(case) == "" for case in ordered):
            wrong[topology] = undrawable(ordered[0])
    return wrong


def undrawable(case: Case) -> str:
    """Say why nobody can draw the connections of `case`; "" where they can be, or nobody knows."""
    if not _is_drawn(case):
        return ""
    check, shape = TOPOLOGIES[case.topology].check, (case.out_features, case.columns)
    try:
        if check is not None:
            check(shape, case.sparsity)
        elif number_of_connections(shape, case.sparsity) <= _FEW and case.weights <= _SMALL:
            draw(case, torch.Generator().manual_seed(case.seed))
    except (Undrawable, ValueError) as error:
        return str(error).removeprefix(f"topology {case.topology}: ")
    return ""


def _is_drawn(case: Case) -> bool:
    if case.operation == "k_winners" or matrix_name(case.topology):
        return False
    return case.topology in TOPOLOGIES and TOPOLOGIES.owner(case.topology) == HERE

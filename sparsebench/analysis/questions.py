"""Which question a point answers: does sparse pay in place of dense, or one asked beside it."""

from __future__ import annotations

from collections.abc import Iterable

from sparsebench.analysis.point import Point

_BESIDE = ("rewiring", "construction")


def pays(points: Iterable[Point]) -> list[Point]:
    """Return the points of layers that could stand in place of dense ones, at work.

    Not activations, layers that are made or rewired, what rewires them between two rewirings, nor
    layers that get zeros.
    """
    points = list(points)
    rewirers = {p.case.implementation for p in points if p.case.phase == "rewiring"}
    return [
        p
        for p in points
        if p.case.operation != "k_winners"
        and p.case.phase not in _BESIDE
        and p.case.implementation not in rewirers
        and not p.case.input_sparsity
    ]

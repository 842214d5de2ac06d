"""Matrices from files: told from layers that are drawn, and taken together by network or sparsity.

No two files have quite the same sparsity, so that what lines up drawn layers by theirs cannot show
them: here are geometric means over many matrices, and bands of sparsities.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sparsebench.analysis.estimates import Estimate, over_problems
from sparsebench.analysis.grouping import CONDITIONS
from sparsebench.analysis.metrics import speedup_draws
from sparsebench.analysis.point import Point
from sparsebench.cases import weights

# What has to agree before matrices are taken together: each is a topology of its own.
SHARED = tuple(name for name in CONDITIONS if name != "topology")
ALL = "all"

# Of whole percents: a matrix that was pruned to 90% has 89.999 or 90.002.
_BANDS = ((0, 49), (50, 59), (60, 69), (70, 79), (80, 89), (90, 94), (95, 97), (98, 100))
PUBLISHED = (60, 95)  # what kernels are published for: Sparse Register Tiling, PLDI 2023

_MKL = ("torch_csr", "sparse_dot_mkl")


def from_files(points: Iterable[Point]) -> list[Point]:
    """Return the points whose connections are those of a file."""
    return [point for point in points if weights.matrix_name(point.case.topology)]


def drawn(points: Iterable[Point]) -> list[Point]:
    """Return the points whose connections are drawn."""
    return [point for point in points if not weights.matrix_name(point.case.topology)]


def by_network(points: Iterable[Point]) -> dict[str, list[Point]]:
    """Return points of files by their network, and all of them last, where there are several."""
    groups: dict[str, list[Point]] = {}
    points = list(points)
    for point in points:
        name = weights.network(weights.matrix_name(point.case.topology))
        groups.setdefault(name, []).append(point)
    groups = dict(sorted(groups.items()))
    return groups | ({ALL: points} if len(groups) > 1 else {})


def by_sparsity(points: Iterable[Point]) -> dict[str, list[Point]]:
    """Return points by bands of sparsity, and those within 60–95%, as published, last."""
    points = list(points)
    published = _within(points, PUBLISHED)
    return bands(points) | ({_named(PUBLISHED): published} if published else {})


def bands(points: Iterable[Point]) -> dict[str, list[Point]]:
    """Return points by bands of sparsity."""
    points = list(points)
    groups = {_named(band): _within(points, band) for band in _BANDS}
    return {name: members for name, members in groups.items() if members}


def mean_speedup(points: Iterable[Point]) -> Estimate | None:
    """Return the geometric mean of the speed-up over dense; None where there is none.

    Times that other work disturbed count for nothing, here and below.
    """
    sure = (p for p in points if not p.unsure)
    found = [draws for p in sure if (draws := speedup_draws(p)) is not None]
    return Estimate.of(over_problems(found)) if found else None


def over_mkl(points: Iterable[Point]) -> Estimate | None:
    """Return the geometric mean of the time of MKL's sparse product over that of `points`.

    MKL's is the faster of PyTorch's and sparse-dot-mkl's on the same problem.
    """
    found = []
    for point in points:
        theirs = [
            rival.time for name in _MKL if (rival := point.rivals.get(name)) and rival.decides
        ]
        if point.decides and theirs and point.case.implementation not in _MKL:
            found.append(np.min(theirs, axis=0) / point.time)
    return Estimate.of(over_problems(found)) if found else None


def count(points: Iterable[Point]) -> int:
    """Return of how many matrices `points` are."""
    return len({point.case.topology for point in points})


def _within(points: Sequence[Point], band: tuple[int, int]) -> list[Point]:
    low, high = band
    return [p for p in points if low <= round(100 * p.case.sparsity) <= high]


def _named(band: tuple[int, int]) -> str:
    return f"{band[0]}–{band[1]}%"

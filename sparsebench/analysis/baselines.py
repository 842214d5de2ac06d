"""Which dense layer a speed-up is over: `nn.Linear`, or the fastest that is known on the problem.

A user has `nn.Linear`, which is what `speedup` is over. What sparse storage gains, beside what
another library or a packed weight would have gained without a single zero, is the speed-up over the
fastest dense layer of the same type. Those that multiply in a shorter type give another answer, and
stand beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sparsebench.analysis.estimates import Estimate
from sparsebench.analysis.point import BASELINE, Point

# The dense layers that multiply in a shorter type than the case's: a test holds them against what
# the implementations say.
SHORT = (
    "dense_tf32",
    "dense_bf16",
    "dense_medium",
    "dense_int8",
    "dense_onnxruntime_int8",
    "dense_openvino_int8",
)


# Dense by its weight alone: it skips inputs that are zero.
_SKIPS = ("dense_nonzero",)


def is_dense(implementation: str) -> bool:
    """Whether it multiplies by every weight, zeros too: by its name."""
    named = implementation == BASELINE or implementation.startswith(f"{BASELINE}_")
    return named and implementation not in _SKIPS


def exact_dense(point: Point) -> list[Point]:
    """Return the dense layers of the problem that were timed, undisturbed, in the case's type."""
    return _dense(point)[False]


def short_dense(point: Point) -> list[Point]:
    """Return those that multiply in a shorter type."""
    return _dense(point)[True]


def fastest(timed: Sequence[Point]) -> Point:
    """Return the fastest of at least one."""
    return min(timed, key=lambda point: point.rounds.typical)


def over_point(timed: Sequence[Point], point: Point) -> Estimate:
    """Return the least time of several, at least one, over that of a point.

    Where one alone was timed there is no least time to draw.
    """
    found: Estimate | None = point.kept.get(key := (over_point, *timed))
    if found is None:
        found = point.kept[key] = _over(timed, point)
    return found


def keep_over(timed: Sequence[Point], point: Point, found: Estimate) -> None:
    """Keep what `over_point` would find."""
    point.kept[over_point, *timed] = found


def _over(timed: Sequence[Point], point: Point) -> Estimate:
    if len(timed) > 1:
        return Estimate.of_logs((np.min([p.logs for p in timed], axis=0) - point.logs)[None])[0]
    (alone,) = timed
    return alone.rounds.over(point.rounds)


def _dense(point: Point) -> dict[bool, list[Point]]:
    """Return the dense layers of the problem that decide, by whether their type is shorter."""
    kept = point.rivals.kept
    if (found := kept.get(_dense)) is None:
        found = kept[_dense] = {False: [], True: []}
        for name, rival in point.rivals.items():
            if is_dense(name) and rival.decides:
                found[name in SHORT].append(rival)
    return found

"""The answer in plain sentences, computed from the points."""

from __future__ import annotations

from collections.abc import Sequence

from sparsebench.analysis.crossover import ALWAYS, NEVER, Crossover, crossover
from sparsebench.analysis.estimates import LEAST_ROUNDS, Estimate
from sparsebench.analysis.grouping import group, split
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.order import main_phases
from sparsebench.analysis.point import LEAD, Point
from sparsebench.views import units

TYPICAL = 0.9
_VERBS = {
    "inference": "Inference with",
    "forward_backward": "The forward and backward pass of",
    "train_step": "A training step of",
    "construction": "Making",
    "rewiring": "A training step with a rewiring of",
}


def sentences(points: Sequence[Point]) -> dict[str, list[str]]:
    """Return sentences by machine and conditions: one for each phase and batch, largest layer."""
    said: dict[str, list[str]] = {}
    for part in split(points):
        ours = [p for p in part.points if p.case.implementation == LEAD and not p.unsure]
        for phase in main_phases(ours):
            for members in group([p for p in ours if p.case.phase == phase], "batch").values():
                largest = max(members, key=lambda p: p.case.weights * p.case.windows)
                layer = [p for p in members if p.size == largest.size]
                if sentence := _sentence(layer):
                    said.setdefault(part.title, []).append(sentence)
    return said


def _sentence(layer: Sequence[Point]) -> str:
    """Say of a layer from which sparsity it pays, and what it gains near the typical one."""
    point = min(layer, key=lambda p: (abs(p.case.sparsity - TYPICAL), p.case.sparsity))
    speedup, memory = METRICS["speedup"].of(point), METRICS["memory_ratio"].of(point)
    found = crossover(layer)
    if speedup is None or found is None:
        return ""
    width = f"a {point.size}-wide layer" if "→" not in point.size else f"a {point.size} layer"
    head = f"{_VERBS[point.case.phase]} {width} at batch {point.case.batch}"
    at = units.percent(point.case.sparsity)
    at = "there" if found.lowest == found.highest else f"at {at}"
    tail = f"{at} it {_gains(speedup)}"
    if memory is not None:
        tail += f" and takes {100 * memory.value:.0f}% of the memory"
    return f"{head} {_pays(found)}; {tail}."


def _gains(speedup: Estimate) -> str:
    """Say how much faster or slower it is than dense, if the interval says that it is either."""
    if not speedup.known:
        few = f"too few processes for an interval: fewer than {LEAST_ROUNDS}"
        return f"took {units.ratio(1 / speedup.value)} the time of dense ({few})"
    if speedup.low <= 1 <= speedup.high:
        return f"cannot be told from dense in time: {units.interval(speedup)} as fast"
    if speedup.value >= 1:
        return f"is {units.interval(speedup)} as fast as dense"
    slower = Estimate(1 / speedup.value, 1 / speedup.high, 1 / speedup.low)
    return f"is {units.interval(slower)} slower than dense"


def _pays(found: Crossover) -> str:
    if not found.told:
        return (
            f"cannot be told to pay or not between {units.percent(found.lowest)} and "
            f"{units.percent(found.highest)}"
        )
    if not found.sparsity.known:
        return f"{_pays_at(found)}, as far as one or two processes can tell"
    return _pays_at(found)


def _pays_at(found: Crossover) -> str:
    value = found.sparsity.value
    if found.lowest == found.highest:
        verdict = "pays" if value == ALWAYS else "does not pay"
        return f"{verdict} at {units.percent(found.lowest)}, the only sparsity measured"
    if value == ALWAYS:
        return f"pays at every sparsity measured, from {units.percent(found.lowest)} on"
    if value == NEVER:
        return f"does not pay, not even at {units.percent(found.highest)}"
    return f"pays from {units.crossing(found).removesuffix(units.UNKNOWN)} sparsity"

"""The answer in plain sentences, computed from the points."""

from __future__ import annotations

from collections.abc import Sequence

from sparsebench.analysis.crossover import ALWAYS, NEVER, Crossover, crossover
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.points import LEAD, Point, group, main_phases, split
from sparsebench.views import units

TYPICAL = 0.9
_VERBS = {
    "inference": "Inference with",
    "forward_backward": "The forward and backward pass of",
    "train_step": "A training step of",
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
    faster = speedup.value >= 1
    gain = units.ratio(speedup.value if faster else 1 / speedup.value)
    at = "there" if found.lowest == found.highest else f"at {at}"
    tail = f"{at} it is {gain} {'faster' if faster else 'slower'} than dense"
    if memory is not None:
        tail += f" and takes {100 * memory.value:.0f}% of the memory"
    return f"{head} {_pays(found)}; {tail}."


def _pays(found: Crossover) -> str:
    value = found.sparsity.value
    if found.lowest == found.highest:
        verdict = "pays" if value == ALWAYS else "does not pay"
        return f"{verdict} at {units.percent(found.lowest)}, the only sparsity measured"
    if value == ALWAYS:
        return f"pays at every sparsity measured, from {units.percent(found.lowest)} on"
    if value == NEVER:
        return f"does not pay, not even at {units.percent(found.highest)}"
    return f"pays from {units.sparsity(value)} sparsity"

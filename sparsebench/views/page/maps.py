"""Heat maps as tables whose cells are coloured: readable by eye, screen reader and search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sparsebench.analysis.crossover import ALWAYS, NEVER, crossover
from sparsebench.analysis.grouping import group, split
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.order import sizes
from sparsebench.analysis.point import LEAD, Point
from sparsebench.views import units
from sparsebench.views.plots.style import phase_title


@dataclass(frozen=True)
class Cell:
    """What a cell says; `heat` runs from −1 (dense is better) to 1 (sparse is), None for grey."""

    text: str
    heat: float | None = None


@dataclass(frozen=True)
class HeatMap:
    """A caption, the title of the rows, and rows of cells under column titles."""

    caption: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]


def crossover_maps(points: Sequence[Point]) -> list[HeatMap]:
    """Return, per phase and conditions, from which sparsity `ours` pays: width by batch."""
    made = []
    for part in split(points, "phase"):
        ours = [p for p in part.points if p.case.implementation == LEAD]
        layers = group(ours, "size", "batch")
        if len({p.case.sparsity for p in ours}) < 2:
            continue
        layer_sizes, batches = _in_order(ours)
        rows = [
            (size, [_crossing(layers.get((size, batch), [])) for batch in batches])
            for size in layer_sizes
        ]
        phase = phase_title(ours[0].case.phase)
        made.append(
            HeatMap(
                f"Sparsity from which ours is faster than dense: {phase} ({part.title})",
                "width \\ batch", [str(batch) for batch in batches], rows,
            )
        )  # fmt: skip
    return made


def speedup_maps(points: Sequence[Point]) -> list[HeatMap]:
    """Return, per phase and conditions, the speed-up of `ours`: width and batch by sparsity."""
    made = []
    for part in split(points, "phase"):
        ours = [p for p in part.points if p.case.implementation == LEAD]
        if not ours:
            continue
        sparsities = sorted({p.case.sparsity for p in ours})
        rows = []
        for (batch, size), members in group(ours, "batch", "size").items():
            cells = {p.case.sparsity: p for p in members}
            rows.append((f"{size}, batch {batch}", [_speedup(cells.get(s)) for s in sparsities]))
        phase = phase_title(ours[0].case.phase)
        made.append(
            HeatMap(
                f"Speed-up of ours over dense: {phase} ({part.title})",
                "layer \\ sparsity", [units.percent(s) for s in sparsities], rows,
            )
        )  # fmt: skip
    return made


def _in_order(points: Sequence[Point]) -> tuple[list[str], list[int]]:
    return sizes(points), sorted({p.case.batch for p in points})


def _crossing(layer: Sequence[Point]) -> Cell:
    found = crossover(layer)
    if found is None:
        return Cell("")
    value = found.sparsity.value
    if not found.told:
        return Cell(units.crossing(found), 0.0)
    if value == NEVER:
        return Cell(units.crossing(found, ends=False), -1.0)
    if value == ALWAYS:
        return Cell(units.crossing(found, ends=False), 1.0)
    # Half of the weights is best, a hundredth the least: by the logarithm of the density.
    heat = 1.0 + math.log10(max(1.0 - value, 1e-3) / 0.5)
    return Cell(units.crossing(found), max(-0.5, min(1.0, heat)))


def _speedup(point: Point | None) -> Cell:
    if point is None:
        return Cell("")
    estimate = METRICS["speedup"].of(point)
    if estimate is None:
        return Cell(point.record.status if not point.ok else "no dense")
    if point.unsure:
        return Cell(units.doubtful(units.ratio(estimate.value), point.unsure))
    heat = math.log10(estimate.value)
    return Cell(units.interval(estimate), max(-1.0, min(1.0, heat)))

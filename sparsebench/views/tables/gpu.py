"""Tables of GPUs: their own times, and where tensor cores leave room for sparse."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsebench.analysis.crossover import crossover_of
from sparsebench.analysis.estimates import Estimate
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.points import BASELINE, CONDITIONS, LEAD, Point, group
from sparsebench.views import units
from sparsebench.views.tables.table import Row, Table, columns, labels_of, noted, tidy

_RIVAL = "torch_csr"
_SHORT = ("dense_tf32", "dense_bf16")  # dense as well, on tensor cores


def gpu(points: Sequence[Point]) -> Table:
    """Return the times of GPUs: cold and hot L2 cache, end to end, over dense and over cuSPARSE."""
    numbers, text = [], []
    for point in points:
        if point.case.device == "cpu" or not point.ok or not point.record.hot_samples:
            continue
        labels = labels_of(point) | {"sparsity": point.case.sparsity}
        ratios = {
            f"over {name}, {cache}": _ratio(point.rivals.get(name), point, cache)
            for name in (BASELINE, _RIVAL)
            for cache in ("cold", "hot")
        }
        row: Row = {}
        shown: Row = {"sparsity": units.percent(point.case.sparsity)}
        for name, metric in (("cold", "time"), ("hot", "hot_time"), ("end to end", "wall_time")):
            estimate = METRICS[metric].of(point)
            row |= columns(f"{name} [s]", estimate)
            shown[name] = "" if estimate is None else units.quantity(estimate.value, "s")
        for name, estimate in ratios.items():
            row |= columns(name, estimate)
            shown[name] = "" if estimate is None else units.ratio(estimate.value)
        limit = METRICS["roofline"].of(point)
        row |= columns("of the limit", limit) | {"tuning [s]": point.record.tuning_s}
        shown["of the limit"] = "" if limit is None else units.percent(round(limit.value, 2))
        numbers.append(labels | row)
        text.append(labels | shown)
    caption = "Times of GPUs with a cold and a hot L2 cache and from end to end, how many times as "
    caption += "fast as dense and as cuSPARSE, and the least possible time over the cold one"
    return Table("gpu", caption, pd.DataFrame(numbers), tidy(text))


def tensor_cores(points: Sequence[Point]) -> Table:
    """Return from which sparsity on `ours` is faster than each dense layer on tensor cores."""
    ours = [p for p in points if p.case.implementation == LEAD and p.ok]
    numbers, text = [], []
    for members in group(ours, *CONDITIONS, "phase", "batch", "size").values():
        labels = labels_of(members[0])
        labels.pop("implementation")
        for name in _SHORT:
            timed = [(p, p.rivals[name]) for p in members if name in p.rivals]
            curve = [(p.case.sparsity, dense.time / p.time) for p, dense in timed if dense.ok]
            if not curve:
                continue
            found = crossover_of(curve)
            span = {"lowest measured": found.lowest, "highest measured": found.highest}
            row = labels | {"dense layer": name}
            numbers.append(row | columns("crossover", found.sparsity) | span)
            text.append(row | {"ours is faster from": units.crossing(found)})
    caption = "Sparsity from which on `ours`, in full float32, is faster than a dense layer that "
    caption += "multiplies in TF32 or bfloat16, with its 95% interval"
    return Table("tensor-cores", noted(caption, text), pd.DataFrame(numbers), tidy(text))


def _ratio(other: Point | None, point: Point, cache: str) -> Estimate | None:
    if other is None or other is point or not other.ok:
        return None
    if cache == "cold":
        return Estimate.of(other.time / point.time)
    return Estimate.of(other.hot / point.hot) if other.record.hot_samples else None

"""Tables of GPUs: their own times, and where tensor cores leave room for sparse."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sparsebench.analysis.crossover import crossover_of
from sparsebench.analysis.estimates import Estimate
from sparsebench.analysis.grouping import CONDITIONS, group
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.point import BASELINE, LEAD, Point
from sparsebench.views import units
from sparsebench.views.tables.table import Row, Table, columns, labels_of, noted, tidy

_RIVAL = "torch_csr"
_SHORT = ("dense_tf32", "dense_bf16")  # dense as well, on tensor cores
_GRAPHS = (f"{BASELINE}_graph", f"{LEAD}_graph")
# What is timed: from end to end, as a user waits for it; then the device's own times.
_TIMES = (("end to end", "wall_time"), ("cold", "time"), ("hot", "hot_time"))


def end_to_end(points: Sequence[Point]) -> Table:
    """Return what `ours` gains over dense for whoever waits for it, launches included."""
    ours = [p for p in points if p.case.implementation == LEAD and p.ok and p.record.wall_samples]
    sparsities = sorted({p.case.sparsity for p in ours})
    numbers, text = [], []
    for members in group(ours, *CONDITIONS, "phase", "batch", "size").values():
        labels = labels_of(members[0])
        labels.pop("implementation")
        ratios = {p.case.sparsity: _ratio(p.baseline, p, "end to end") for p in members}
        shown = {s: "" if (r := ratios.get(s)) is None else units.interval(r) for s in sparsities}
        numbers.append(labels | {units.percent(s): r.value for s, r in ratios.items() if r})
        text.append(labels | {units.percent(s): cell for s, cell in shown.items()})
    caption = "Speed-up of `ours` over the dense layer of a GPU from end to end, launches included"
    return Table("end-to-end", noted(caption, text), pd.DataFrame(numbers), tidy(text))


def gpu(points: Sequence[Point]) -> Table:
    """Return the times of GPUs: end to end, cold and hot L2 cache, over dense and over cuSPARSE.

    End to end comes first: it is what a user waits for, launches included. The device's own times
    are those of a model whose launches overlap, or are captured into a graph.
    """
    numbers, text = [], []
    for point in points:
        if point.case.device == "cpu" or not point.ok or not point.record.hot_samples:
            continue
        labels = labels_of(point) | {"sparsity": point.case.sparsity}
        ratios = {
            f"over {name}, {series}": _ratio(point.rivals.get(name), point, series)
            for series, _ in _TIMES
            for name in (BASELINE, _RIVAL)
        }
        row: Row = {}
        shown: Row = {"sparsity": units.percent(point.case.sparsity)}
        for name, metric in _TIMES:
            estimate = METRICS[metric].of(point)
            row |= columns(f"{name} [s]", estimate)
            shown[name] = "" if estimate is None else units.bounded(estimate, "s")
        for name, estimate in ratios.items():
            row |= columns(name, estimate)
            shown[name] = "" if estimate is None else units.interval(estimate)
        limit = METRICS["roofline"].of(point)
        row |= columns("of the limit", limit) | {"tuning [s]": point.record.tuning_s}
        shown["of the limit"] = "" if limit is None else units.percent(round(limit.value, 2))
        numbers.append(labels | row)
        text.append(labels | shown)
    caption = (
        "Times of GPUs from end to end, and their own with a cold and a hot L2 cache, how many "
    )
    caption += (
        "times as fast as dense and as cuSPARSE, and the least possible time over the cold one"
    )
    return Table("gpu", noted(caption, text), pd.DataFrame(numbers), tidy(text))


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


def graphs(points: Sequence[Point]) -> Table:
    """Return times from end to end, launched kernel by kernel, and repeated as CUDA graphs."""
    numbers, text = [], []
    for point in points:
        timed = {
            name: rival
            for name in (BASELINE, LEAD, *_GRAPHS)
            if (rival := point.rivals.get(name)) is not None
            and rival.ok
            and rival.record.wall_samples
        }
        if point.case.implementation != LEAD or not timed.keys() & set(_GRAPHS):
            continue
        labels = labels_of(point) | {"sparsity": point.case.sparsity}
        labels.pop("implementation")
        row: Row = {}
        shown: Row = {"sparsity": units.percent(point.case.sparsity)}
        for dense, ours, how in ((BASELINE, LEAD, ""), (*_GRAPHS, " in graphs")):
            for name in (dense, ours):
                estimate = METRICS["wall_time"].of(timed[name]) if name in timed else None
                row |= columns(f"{name} [s]", estimate)
                shown[name] = "" if estimate is None else units.bounded(estimate, "s")
            ratio = _ratio(timed.get(dense), timed[ours], "end to end") if ours in timed else None
            row |= columns(f"over dense{how}", ratio)
            shown[f"over dense{how}"] = "" if ratio is None else units.interval(ratio)
        numbers.append(labels | row)
        text.append(labels | shown)
    caption = "Times from end to end of layers that are launched kernel by kernel, and of the same "
    caption += "in CUDA graphs of the whole step; and how many times as fast as dense `ours` is"
    return Table("graphs", noted(caption, text), pd.DataFrame(numbers), tidy(text))


def _ratio(other: Point | None, point: Point, series: str) -> Estimate | None:
    if other is None or other is point or not other.ok:
        return None
    if series == "cold":
        return other.rounds.over(point.rounds)
    if series == "end to end":
        both = other.record.wall_samples and point.record.wall_samples
        return other.wall.over(point.wall) if both else None
    return other.hot.over(point.hot) if other.record.hot_samples else None

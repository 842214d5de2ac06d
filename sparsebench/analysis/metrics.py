"""What is computed from a record: one row of METRICS each. Tables and plots only read it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from sparsebench.analysis.baselines import exact_dense, fastest, over_point, short_dense
from sparsebench.analysis.estimates import RESAMPLES, Draws, Estimate
from sparsebench.analysis.point import Point
from sparsebench.analysis.relative import relative
from sparsebench.analysis.roofline import Roof, roof
from sparsebench.cases import arithmetic
from sparsebench.cases.case import Case


@dataclass(frozen=True)
class Metric:
    """A named number with a unit; `of` a point it is None where it was not measured.

    What is `counted` is exact: a number, which `of` makes an estimate of.
    """

    name: str
    unit: str
    description: str
    of: Callable[[Point], Estimate | None]
    counted: Callable[[Point], float | None] | None = None


def speedup_logs(point: Point) -> Draws | None:
    """Return the logarithm of what `speedup` is, and replicas of it."""
    if not point.ok or point.baseline is None:
        return None
    if point.baseline is point:
        return np.zeros(1 + RESAMPLES)  # whatever it took
    return np.asarray(point.baseline.logs - point.logs)


def speedup_draws(point: Point) -> Draws | None:
    """Return the same without the logarithm."""
    logs = speedup_logs(point)
    return None if logs is None else np.asarray(np.exp(logs))


def error(point: Point) -> float | None:
    """Return the error of the output relative to its largest entry; where there is a time."""
    return point.record.errors.get("output") if point.ok else None


def peak_bytes(point: Point) -> int | None:
    """Return the most bytes the phase had in use: what the module holds and what a call adds."""
    memory = point.record.memory
    peak = memory.inference_peak if point.case.phase == "inference" else memory.training_peak
    if memory.held is None or peak is None:
        return None
    return memory.held + peak


def memory_ratio(point: Point) -> float | None:
    """Return the peak memory over that of the dense layer on the same problem."""
    own = peak_bytes(point)
    dense = None if point.baseline is None else peak_bytes(point.baseline)
    return own / dense if own is not None and dense else None


def time(point: Point) -> Estimate | None:
    """Return the time of a call."""
    return point.seconds if point.ok else None


def hot_time(point: Point) -> Estimate | None:
    """Return the time on a GPU with a hot L2 cache."""
    return point.hot.estimate if point.ok and point.record.hot_samples else None


def wall_time(point: Point) -> Estimate | None:
    """Return the time from end to end, where `time` is a GPU's own."""
    return point.wall.estimate if point.ok and point.record.wall_samples else None


def speedup(point: Point) -> Estimate | None:
    """Return the time of the dense layer on the same problem over this one's."""
    dense = point.baseline if point.ok else None
    return None if dense is None else over_point([dense], point)


def hot_speedup(point: Point) -> Estimate | None:
    """Return the time of the dense layer over this one's, both with a hot L2 cache."""
    dense = point.baseline
    if hot_time(point) is None or dense is None or not dense.record.hot_samples:
        return None
    return dense.hot.over(point.hot)


def wall_speedup(point: Point) -> Estimate | None:
    """Return the time of the dense layer over this one's, both from end to end."""
    dense = point.baseline
    if wall_time(point) is None or dense is None or not dense.record.wall_samples:
        return None
    return dense.wall.over(point.wall)


def best_dense(point: Point) -> Estimate | None:
    """Return the time of the fastest dense layer of the case's type over this one's.

    Of those that other work left alone.
    """
    dense = exact_dense(point) if point.ok else ()
    return over_point(dense, point) if dense else None


def best_short_dense(point: Point) -> Estimate | None:
    """Return the same of the fastest that multiplies in a shorter type."""
    dense = short_dense(point) if point.ok else ()
    return over_point(dense, point) if dense else None


def relative_time(point: Point) -> Estimate | None:
    """Return the time over that of the fastest implementation of the same problem, at least 1.

    The fastest of those that other work left alone; one that was disturbed may be below 1.
    """
    return relative(point.rivals)[point.case.implementation] if point.ok else None


def behind(point: Point) -> float | None:
    """Return the value of `relative_time` alone, which takes no draws."""
    if not point.ok:
        return None
    sure = [rival for rival in point.rivals.timed.values() if rival.decides]
    first = fastest(sure) if sure else point
    return math.exp(point.rounds.typical - first.rounds.typical)


def throughput(point: Point) -> Estimate | None:
    """Return the useful operations per second: those of weights that exist."""
    return Estimate.over(_flops(point), point.seconds) if point.ok else None


def roof_of(point: Point) -> Roof | None:
    """Return the roof of the machine; as high as its fastest dense layer, where that is higher.

    A dense layer multiplies by every weight. Where one was measured beside this point that does
    more operations a second than the probe, the probe has not found what the machine can do.
    """
    limit, dense = roof(point.record.machine), exact_dense(point)
    if limit is None or not dense:
        return limit
    rate = arithmetic.dense_flops(point.case) / fastest(dense).rounds.value
    return replace(limit, flops=max(limit.flops, rate))


def roofline(point: Point) -> Estimate | None:
    """Return the least possible time on this machine over the measured one."""
    limit = roof_of(point)
    return Estimate.over(limit.seconds(point.case), point.seconds) if point.ok and limit else None


def _exact(
    name: str, unit: str, description: str, counted: Callable[[Point], float | None]
) -> Metric:
    def of(point: Point) -> Estimate | None:
        value = counted(point)
        return None if value is None else Estimate.exact(value)

    return Metric(name, unit, description, of, counted)


def _of_problem(count: Callable[[Case], float]) -> Callable[[Point], float]:
    """Count once for all rivals what the mathematics of their problem takes."""

    def of(point: Point) -> float:
        kept = point.rivals.kept
        if (found := kept.get(count)) is None:
            found = kept[count] = count(point.case)
        return cast(float, found)

    return of


_flops = _of_problem(arithmetic.flops)

_ROWS = (
    Metric("time", "s", "median time of a call", time),
    Metric("hot_time", "s", "the same on a GPU with a hot L2 cache", hot_time),
    Metric("wall_time", "s", "the same from end to end, for a GPU", wall_time),
    Metric("speedup", "×", "time of the dense layer over this one's", speedup),
    Metric("hot_speedup", "×", "the same with a hot L2 cache", hot_speedup),
    Metric("wall_speedup", "×", "the same from end to end", wall_speedup),
    Metric(
        "speedup_over_best_dense",
        "×",
        "time of the fastest dense layer of the type over this one's",
        best_dense,
    ),
    Metric(
        "speedup_over_short_dense",
        "×",
        "the same of the fastest dense layer that multiplies in a shorter type",
        best_short_dense,
    ),
    Metric("relative_time", "×", "time over the fastest one's", relative_time),
    _exact("error", "1", "error of the output over its largest entry, against float64", error),
    _exact("peak_memory", "B", "bytes held and added by a call", peak_bytes),
    _exact("memory_ratio", "×", "peak memory over the dense layer's", memory_ratio),
    _exact(
        "needed_memory",
        "B",
        "bytes the mathematics needs at once",
        _of_problem(arithmetic.needed_memory),
    ),
    _exact(
        "traffic",
        "B",
        "bytes the mathematics must move",
        _of_problem(arithmetic.traffic),
    ),
    _exact(
        "intensity",
        "FLOP/B",
        "operations per byte moved",
        _of_problem(arithmetic.intensity),
    ),
    Metric("throughput", "FLOP/s", "useful operations per second", throughput),
    Metric(
        "roofline",
        "1",
        "least possible time here over the measured one",
        roofline,
    ),
)

METRICS = {metric.name: metric for metric in _ROWS}

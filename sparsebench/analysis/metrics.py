"""What is computed from a record: one row of METRICS each. Tables and plots only read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sparsebench.analysis.baselines import exact_dense, fastest, short_dense
from sparsebench.analysis.estimates import Draws, Estimate
from sparsebench.analysis.points import Point
from sparsebench.analysis.roofline import Roof, roof
from sparsebench.cases import arithmetic


@dataclass(frozen=True)
class Metric:
    """A named number with a unit; `of` a point it is None where it was not measured."""

    name: str
    unit: str
    description: str
    of: Callable[[Point], Estimate | None]


def speedup_draws(point: Point) -> Draws | None:
    """Return the time of the dense layer on the same problem over this one's."""
    if not point.ok or point.baseline is None:
        return None
    if point.baseline is point:
        return np.ones_like(point.time)  # whatever it took
    return np.asarray(point.baseline.time / point.time)


def best_dense_draws(point: Point) -> Draws | None:
    """Return the time of the fastest dense layer of the case's type over this one's.

    Of those that other work left alone.
    """
    return _over(point, exact_dense(point))


def short_dense_draws(point: Point) -> Draws | None:
    """Return the same of the fastest that multiplies in a shorter type."""
    return _over(point, short_dense(point))


def _over(point: Point, dense: Sequence[Point]) -> Draws | None:
    if not point.ok or not dense:
        return None
    return np.asarray(fastest(dense)[1] / point.time)


def error(point: Point) -> float | None:
    """Return the error of the output relative to its largest entry; where there is a time."""
    return point.record.errors.get("output") if point.ok else None


def hot_draws(point: Point) -> Draws | None:
    """Return the time on a GPU with a hot L2 cache."""
    return point.hot if point.ok and point.record.hot_samples else None


def hot_speedup_draws(point: Point) -> Draws | None:
    """Return the time of the dense layer over this one's, both with a hot L2 cache."""
    own = hot_draws(point)
    dense = None if point.baseline is None else hot_draws(point.baseline)
    return None if own is None or dense is None else np.asarray(dense / own)


def wall_draws(point: Point) -> Draws | None:
    """Return the time from end to end, where `time` is a GPU's own."""
    return point.wall if point.ok and point.record.wall_samples else None


def wall_speedup_draws(point: Point) -> Draws | None:
    """Return the time of the dense layer over this one's, both from end to end."""
    own = wall_draws(point)
    dense = None if point.baseline is None else wall_draws(point.baseline)
    return None if own is None or dense is None else np.asarray(dense / own)


def relative_draws(point: Point) -> Draws | None:
    """Return the time over that of the fastest implementation of the same problem, at least 1.

    The fastest of those that other work left alone; one that was disturbed may be below 1.
    """
    if not point.ok:
        return None
    fastest = point.rivals.best
    return np.asarray(point.time / (point.time if fastest is None else fastest))


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


def speedup(point: Point) -> Estimate | None:
    """Return what `speedup_draws` say."""
    return point.rivals.estimates[point.case.implementation].speedup if point.ok else None


def relative_time(point: Point) -> Estimate | None:
    """Return what `relative_draws` say."""
    return point.rivals.estimates[point.case.implementation].relative if point.ok else None


def throughput(point: Point) -> Estimate | None:
    """Return the useful operations per second: those of weights that exist."""
    return Estimate.over(arithmetic.flops(point.case), point.seconds) if point.ok else None


def best_dense(point: Point) -> Estimate | None:
    """Return what `best_dense_draws` say: the speed-up, where one dense layer alone was timed."""
    if point.ok and [*exact_dense(point)] == [point.baseline]:
        return speedup(point)
    draws = best_dense_draws(point)
    return None if draws is None else Estimate.of(draws)


def roof_of(point: Point) -> Roof | None:
    """Return the roof of the machine; as high as its fastest dense layer, where that is higher.

    A dense layer multiplies by every weight. Where one was measured beside this point that does
    more operations a second than the probe, the probe has not found what the machine can do.
    """
    limit, dense = roof(point.record.machine), exact_dense(point)
    if limit is None or not dense:
        return limit
    rate = arithmetic.dense_flops(point.case) / float(fastest(dense)[1][0])
    return replace(limit, flops=max(limit.flops, rate))


def roofline(point: Point) -> Estimate | None:
    """Return the least possible time on this machine over the measured one."""
    limit = roof_of(point)
    return Estimate.over(limit.seconds(point.case), point.seconds) if point.ok and limit else None


def _sampled(draws: Callable[[Point], Draws | None]) -> Callable[[Point], Estimate | None]:
    def of(point: Point) -> Estimate | None:
        values = draws(point)
        return None if values is None else Estimate.of(values)

    return of


def _counted(count: Callable[[Point], float | None]) -> Callable[[Point], Estimate | None]:
    def of(point: Point) -> Estimate | None:
        value = count(point)
        return None if value is None else Estimate.exact(value)

    return of


_ROWS = (
    Metric("time", "s", "median time of a call", time),
    Metric("hot_time", "s", "the same on a GPU with a hot L2 cache", _sampled(hot_draws)),
    Metric("wall_time", "s", "the same from end to end, for a GPU", _sampled(wall_draws)),
    Metric("speedup", "×", "time of the dense layer over this one's", speedup),
    Metric("hot_speedup", "×", "the same with a hot L2 cache", _sampled(hot_speedup_draws)),
    Metric("wall_speedup", "×", "the same from end to end", _sampled(wall_speedup_draws)),
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
        _sampled(short_dense_draws),
    ),
    Metric("relative_time", "×", "time over the fastest one's", relative_time),
    Metric(
        "error",
        "1",
        "error of the output over its largest entry, against float64",
        _counted(error),
    ),
    Metric("peak_memory", "B", "bytes held and added by a call", _counted(peak_bytes)),
    Metric("memory_ratio", "×", "peak memory over the dense layer's", _counted(memory_ratio)),
    Metric(
        "needed_memory",
        "B",
        "bytes the mathematics needs at once",
        _counted(lambda p: arithmetic.needed_memory(p.case)),
    ),
    Metric(
        "traffic",
        "B",
        "bytes the mathematics must move",
        _counted(lambda p: arithmetic.traffic(p.case)),
    ),
    Metric(
        "intensity",
        "FLOP/B",
        "operations per byte moved",
        _counted(lambda p: arithmetic.intensity(p.case)),
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

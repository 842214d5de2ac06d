"""Answers from records that surround the question.

The logarithm of the speed-up over dense is interpolated, linear in the logarithms of the layer's
size, of its density and of the batch: times of matrix products are close to powers of them. A layer
that is not square counts as the square one of as many weights, unless its own shape was measured.
Intervals are those of the measurements: what interpolation adds is not in them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from sparsebench.advisor.question import Advice, Candidate, Question, usable
from sparsebench.analysis.crossover import Crossover, crossover_of
from sparsebench.analysis.estimates import Draws, Estimate
from sparsebench.analysis.metrics import METRICS, memory_ratio, speedup_draws
from sparsebench.analysis.point import BASELINE, Point
from sparsebench.analysis.points import points
from sparsebench.cases.case import USUAL, Case
from sparsebench.implementations import as_exact
from sparsebench.records import Record

_WIDEST = 4.0  # of in / out or out / in: beyond, a square layer says nothing about this one

Place = tuple[float, ...]  # logarithms of size, batch and density
Value = Callable[[Point], Draws | None]


def from_records(
    question: Question, records: Iterable[Record], machine: str, *, by_memory: bool = False
) -> Advice | None:
    """Answer from the records of `machine` (its id); None where they do not cover the question.

    Ordered by speed-up, or by memory. An implementation is a candidate only if its measurements
    surround the question; the dense layer always is.
    """
    known = points(r for r in records if r.machine.get("id") == machine)
    usable = [p for p in known if not p.unsure and p.ok and _alike(p.case, question)]
    own_shape = [
        p for p in usable
        if (p.case.in_features, p.case.out_features)
        == (question.in_features, question.out_features)
    ]  # fmt: skip
    for chosen in (own_shape, [p for p in usable if p.case.in_features == p.case.out_features]):
        if chosen is not own_shape and _aspect(question) > _WIDEST:
            continue
        if advice := _interpolated(question, chosen, by_memory):
            return advice
    return None


def _alike(case: Case, question: Question) -> bool:
    names = ("device", "dtype", "threads", "phase", "topology")
    return (
        all(getattr(case, name) == getattr(question, name) for name in names)
        and case.operation == "linear"
        and all(getattr(case, name) == usual for name, usual in USUAL.items())
    )


def _aspect(question: Question) -> float:
    ratio = question.in_features / question.out_features
    return max(ratio, 1 / ratio)


def _interpolated(question: Question, known: Sequence[Point], by_memory: bool) -> Advice | None:
    curves: dict[str, dict[Place, Point]] = {}
    for point in known:
        name = point.case.implementation
        found_here = METRICS["speedup"].of(point)
        # Fewer than three processes decide nothing: then it is measured now.
        known_well = found_here is not None and found_here.known
        if name != BASELINE and as_exact(name) and usable(name) and known_well:
            curves.setdefault(name, {})[_place(point.case)] = point
    target = _place(question)
    found: dict[str, Candidate] = {}
    draws: dict[str, Draws] = {}
    used: set[str] = set()
    for name, places in curves.items():
        weights = _weights(target, places)
        if weights is None:
            continue
        speedup = _mean(weights, places, speedup_draws)
        if speedup is None:
            continue
        draws[name] = speedup
        memory = _mean(weights, places, _memory_draws)
        found[name] = Candidate(
            name, Estimate.of(speedup), None if memory is None else float(memory[0])
        )
        used |= {places[place].record.case.key for place in weights}
    if not found:
        return None
    ordered = sorted(
        [*found.values(), Candidate(BASELINE, Estimate.exact(1.0), 1.0)],
        key=_by_memory if by_memory else _by_time,
    )
    sparse = next(c.implementation for c in ordered if c.implementation != BASELINE)
    exact = all(len(_weights(target, curves[name]) or {}) == 1 for name in found)
    count = len(used)
    source = f"from {count} record{'s' * (count != 1)} of this machine"
    if not exact:
        source += ", interpolated between them in the logarithms of size, batch and density"
    draws[BASELINE] = np.ones_like(draws[sparse])
    ties = [] if by_memory else _ties(ordered[0].implementation, draws)
    return Advice(question, ordered, _crossover(target, curves[sparse]), source, ties)


def _ties(best: str, draws: Mapping[str, Draws]) -> list[str]:
    """Return those that are not surely slower than the best: the interval of a ratio holds 1."""
    return [
        name
        for name, speedup in draws.items()
        if name != best and not Estimate.of(draws[best] / speedup).low > 1
    ]


def _by_time(candidate: Candidate) -> float:
    return -candidate.speedup.value


def _by_memory(candidate: Candidate) -> float:
    return math.inf if candidate.memory is None else candidate.memory


def _memory_draws(point: Point) -> Draws | None:
    ratio = memory_ratio(point)
    return None if ratio is None else np.array([ratio])


def _place(of: Case | Question) -> Place:
    # Rounded, so that equal sizes are equal places.
    return (
        round(math.log(of.in_features * of.out_features) / 2, 9),
        round(math.log(of.batch), 9),
        round(math.log(1 - of.sparsity), 9),
    )


def _weights(target: Place, known: Iterable[Place]) -> dict[Place, float] | None:
    """Return the weights of the known places around `target`; None unless they surround it.

    Along each axis the nearest known values on both sides are taken, and all corners of the box
    that they make have to be known: multilinear interpolation on a grid that may be incomplete.
    """
    places = set(known)
    axes: list[list[tuple[float, float]]] = []
    for axis, value in enumerate(target):
        values = {place[axis] for place in places}
        below, above = ([v for v in values if v <= value], [v for v in values if v >= value])
        if not below or not above:
            return None
        low, high = max(below), min(above)
        share = 0.0 if high == low else (value - low) / (high - low)
        axes.append([(low, 1 - share), (high, share)] if share else [(low, 1.0)])
    weights = {
        tuple(value for value, _ in corner): math.prod(weight for _, weight in corner)
        for corner in itertools.product(*axes)
    }
    return weights if weights.keys() <= places else None


def _mean(
    weights: Mapping[Place, float], places: Mapping[Place, Point], value: Value
) -> Draws | None:
    """Return the weighted geometric mean of a value over places; None where one lacks it."""
    draws = ((weight, value(places[place])) for place, weight in weights.items())
    logs = [weight * np.log(of_place) for weight, of_place in draws if of_place is not None]
    return np.asarray(np.exp(np.sum(logs, axis=0))) if len(logs) == len(weights) else None


def _crossover(target: Place, places: Mapping[Place, Point]) -> Crossover | None:
    """Return from where on an implementation is faster at the target's size and batch."""
    curve = []
    for density in sorted({place[2] for place in places}, reverse=True):
        weights = _weights((target[0], target[1], density), places)
        draws = None if weights is None else _mean(weights, places, speedup_draws)
        if draws is not None:
            curve.append((1 - math.exp(density), draws))
    return crossover_of(curve) if len(curve) > 1 else None

"""Two sets of records: what became faster, what slower, and what cannot be told.

A ratio is the time in B over that in A of the same case, and its interval comes from bootstrap
replicas of both, drawn independently. The interval knows the scatter of the processes within each
set, minutes apart, and not how the machine changed between the sets: to decide about a change of
code, measure both sides in turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from sparsebench.analysis.estimates import Draws, Estimate, geometric_mean
from sparsebench.analysis.point import Point
from sparsebench.errors import InputError

Verdict = Literal["faster", "slower", "same", "can't tell"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

# What of a fingerprint makes times incomparable, and what is worth knowing when they differ.
_HARDWARE = ("cpu", "memory_gib", "gpus")
_SOFTWARE = ("os", "huge_pages", "malloc", "python", "torch", "sparsebench", "layers")


@dataclass(frozen=True, eq=False)
class Pair:
    """A case that has a time in both sets. `ratio` is B's over A's: below 1, B is faster."""

    a: Point
    b: Point
    ratio: Draws
    tolerance: float

    @property
    def estimate(self) -> Estimate:
        """The ratio with its 95% interval."""
        return Estimate.of(self.ratio)

    @property
    def decides(self) -> bool:
        """Whether other work left both sides alone."""
        return self.a.decides and self.b.decides

    @property
    def verdict(self) -> Verdict:
        """What the whole interval says; a ratio within the tolerance is the same."""
        return verdict(self.estimate, self.tolerance) if self.decides else "can't tell"


@dataclass(frozen=True)
class Comparison:
    """All that two sets of records say together.

    `only_a` and `only_b` are points without a partner, `untimed` pairs of which a side failed;
    `differences` names what differs of machine and software, as (what, in A, in B).
    """

    pairs: list[Pair]
    only_a: list[Point]
    only_b: list[Point]
    untimed: list[tuple[Point, Point]]
    differences: list[tuple[str, str, str]]

    @property
    def unsure(self) -> int:
        """How many pairs have no interval: too few processes, on one side at the least."""
        return sum(not pair.estimate.known for pair in self.pairs if pair.decides)

    @property
    def disturbed(self) -> int:
        """How many pairs decide nothing, because other work disturbed a side."""
        return sum(not pair.decides for pair in self.pairs)

    @property
    def counts(self) -> Counter[Verdict]:
        """How many pairs have each verdict."""
        return Counter(pair.verdict for pair in self.pairs)

    def means(self) -> dict[str, Estimate]:
        """Return the geometric mean of the ratios that decide, for each implementation."""
        ratios: dict[str, list[Draws]] = {}
        for pair in self.pairs:
            if pair.decides:
                ratios.setdefault(pair.a.case.implementation, []).append(pair.ratio)
        return {name: Estimate.of(geometric_mean(draws)) for name, draws in ratios.items()}


def verdict(ratio: Estimate, tolerance: float) -> Verdict:
    """Judge a ratio of times by its whole interval.

    "same" when all of it lies within 1/(1 + tolerance) to 1 + tolerance, "slower" or "faster" when
    none of it does, on one side; otherwise, and without an interval, "can't tell".
    """
    high, low = 1 + tolerance, 1 / (1 + tolerance)
    if ratio.low > high:
        return "slower"
    if ratio.high < low:
        return "faster"
    if low <= ratio.low and ratio.high <= high:
        return "same"
    return "can't tell"


def compare(
    a: Sequence[Point],
    b: Sequence[Point],
    *,
    tolerance: float = 0.05,
    across_machines: bool = False,
) -> Comparison:
    """Pair the points of two sets by case and machine, and judge every pair.

    Raises InputError where the sets have no machine in common, naming what differs, unless
    `across_machines` (each set then has to come from one machine), and where no case is in both.
    """
    if not tolerance >= 0:
        raise InputError(f"the tolerance must be at least 0, got {tolerance:g}")
    machines_a, machines_b = _machines(a), _machines(b)
    common = machines_a.keys() & machines_b.keys()
    if across_machines:
        for name, machines in (("A", machines_a), ("B", machines_b)):
            if len(machines) > 1:
                raise InputError(
                    f"{name} has records of {len(machines)} machines ({', '.join(machines)}): "
                    "with --across-machines each side has to come from one"
                )
    elif not common:
        differences = _differences(_any(machines_a), _any(machines_b), _HARDWARE)
        words = "; ".join(f"{what}: {x} against {y}" for what, x, y in differences)
        raise InputError(
            f"no machine is in both sets, so ratios would compare machines ({words}); "
            "with --across-machines they are computed all the same"
        )
    left, right = (
        {_key(p, across_machines): p for p in side if across_machines or _id(p) in common}
        for side in (a, b)
    )
    both = [(point, right[key]) for key, point in left.items() if key in right]
    if not both:
        raise InputError("no case is in both sets: compare runs of the same sweep")
    timed = [(x, y) for x, y in both if x.ok and y.ok]
    used_a, used_b = _machines([x for x, _ in both]), _machines([y for _, y in both])
    return Comparison(
        pairs=[Pair(x, y, _ratio(x, y), tolerance) for x, y in timed],
        only_a=[p for p in a if _key(p, across_machines) not in right],
        only_b=[p for p in b if _key(p, across_machines) not in left],
        untimed=[(x, y) for x, y in both if not (x.ok and y.ok)],
        differences=_all_differences(used_a, used_b, across_machines),
    )


def _ratio(a: Point, b: Point) -> Draws:
    # Equal names give equal draws: the same permutation of one side makes them independent.
    order = np.concatenate([[0], 1 + np.random.default_rng(0).permutation(len(b.time) - 1)])
    return np.asarray(b.time[order] / a.time)


def _id(point: Point) -> str:
    return str(point.record.machine.get("id", ""))


def _key(point: Point, across_machines: bool) -> tuple[str, str]:
    return point.case.key, "" if across_machines else _id(point)


def _machines(points: Sequence[Point]) -> dict[str, Mapping[str, Any]]:
    return {_id(p): p.record.machine for p in points}


def _any(machines: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    return next(iter(machines.values()), {})


def _all_differences(
    a: Mapping[str, Mapping[str, Any]], b: Mapping[str, Mapping[str, Any]], across_machines: bool
) -> list[tuple[str, str, str]]:
    if across_machines:
        return _differences(_any(a), _any(b), (*_HARDWARE, *_SOFTWARE))
    found = [d for name in a for d in _differences(a[name], b[name], _SOFTWARE)]
    return list(dict.fromkeys(found))


def _differences(
    a: Mapping[str, Any], b: Mapping[str, Any], names: Sequence[str]
) -> list[tuple[str, str, str]]:
    left, right = (_flat({name: side.get(name) for name in names}) for side in (a, b))
    return [
        (name, left.get(name, "nothing"), right.get(name, "nothing"))
        for name in dict.fromkeys((*left, *right))
        if left.get(name) != right.get(name)
    ]


def _flat(value: Any, name: str = "") -> dict[str, str]:
    """Return the leaves of nested mappings by their dotted names."""
    if isinstance(value, Mapping):
        parts = (_flat(v, f"{name}.{k}" if name else str(k)) for k, v in value.items())
        return {k: v for part in parts for k, v in part.items()}
    return {} if value is None or value == [] else {name: str(value)}

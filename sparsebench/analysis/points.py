"""Records made findable: one per case and machine, each beside the others of its problem."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np

from sparsebench.analysis.estimates import Draws, Estimate, log_draws_of, median_draws
from sparsebench.cases.case import USUAL, Case
from sparsebench.records import Record, software
from sparsebench.records.record import Series

BASELINE = "dense"
LEAD = "ours"
PHASES = ("construction", "rewiring", "inference", "forward_backward", "train_step")

_PANELS = 6  # with more layers than this they would be too small to read
_MOST = 12  # sizes, or batches, in a figure
_KEPT = 4096  # draws, of 8 kB: of more points they are made anew where they are asked for

T = TypeVar("T")

# What has to agree before two points may share a table row or a curve.
CONDITIONS = ("machine", "device", "dtype", "threads", "operation", "topology", "seed", *USUAL)


@dataclass(frozen=True, eq=False)
class Point:
    """The newest record of a case on a machine.

    `rivals` are the points of the same problem on the same machine, with the same software, by
    implementation, this one included: the only ones that a ratio may use.
    """

    record: Record
    machine: str
    rivals: Rivals = field(repr=False)

    @property
    def case(self) -> Case:
        """What was measured."""
        return self.record.case

    @property
    def ok(self) -> bool:
        """Whether there is a time to speak of."""
        return self.record.status == "ok" and bool(self.record.samples)

    @property
    def time(self) -> Draws:
        """The median time of a call in seconds, and its replicas; only where `ok`."""
        return _time(self)

    @property
    def seconds(self) -> Estimate:
        """The same with its interval; only where `ok`."""
        return self.rivals.estimates[self.case.implementation].seconds

    @cached_property
    def hot(self) -> Draws:
        """The same for a GPU with a hot L2 cache; only where that was measured."""
        return self._draws("hot_samples")

    @cached_property
    def wall(self) -> Draws:
        """The same from end to end; only where that was measured."""
        return self._draws("wall_samples")

    def _draws(self, series: Series) -> Draws:
        medians, value = self._medians(series)
        return median_draws(medians, self.rivals.name, value)

    def _medians(self, series: Series) -> tuple[dict[int, float], float | None]:
        """Return the medians of rounds by their numbers, and the value if they do not say it."""
        record = self.record
        # Where rounds begin was not kept at first: then all samples together have the median.
        value = None if record.rounds else float(np.median(getattr(record, series)))
        numbers = record.numbers
        # Those that other work did not disturb; all where it disturbed every round.
        kept = {numbers[n]: median for n, median in record.clean_medians(series).items()}
        return kept, value

    @cached_property
    def disturbed(self) -> str:
        """Why its time decides nothing: no sentence, winner or crossover; "" if it does."""
        return self.record.disturbed

    @property
    def decides(self) -> bool:
        """Whether there is a time to draw conclusions from, for all that is known."""
        return self.ok and not self.disturbed

    @property
    def unsure(self) -> bool:
        """Whether its ratio to the dense layer decides nothing: one of the two was disturbed."""
        return bool(self.disturbed or (self.baseline and self.baseline.disturbed))

    @property
    def baseline(self) -> Point | None:
        """The dense layer on the same problem, where it was timed."""
        dense = self.rivals.get(BASELINE)
        return dense if dense is not None and dense.ok else None

    @property
    def size(self) -> str:
        """The layer in short: its width, both where they differ, the window of a convolution."""
        return self.case.size

    def get(self, name: str) -> Any:
        """Return a field of the case, or the machine or the size; "" for what a GPU has not."""
        if name in USUAL and self.case.device != "cpu":
            return ""
        return getattr(self, name) if name in ("machine", "size") else getattr(self.case, name)


class Rivals(dict[str, Point]):
    """The points of a problem on a machine by implementation."""

    @cached_property
    def name(self) -> str:
        """What is measured in the same rounds: rivals are, and so are numbers of threads."""
        one = next(iter(self.values()))
        return f"{one.machine} {one.case.contest}"

    @cached_property
    def best(self) -> Draws | None:
        """The time of the fastest that other work left alone, replica by replica, if one has."""
        sure = [p.time for p in self.values() if p.decides]
        return np.asarray(np.min(sure, axis=0)) if sure else None

    @cached_property
    def estimates(self) -> dict[str, Estimates]:
        """What is known of those that were timed, by implementation: all at once."""
        # In a fixed order: sums of many numbers depend on it in their last bits.
        timed = {name: point for name, point in sorted(self.items()) if point.ok}
        if not timed:
            return {}
        logs = log_draws_of([point._medians("samples") for point in timed.values()], self.name)
        decide = [n for n, point in enumerate(timed.values()) if point.decides]
        best = logs[decide].min(axis=0) if decide else logs
        ratios = [logs, logs - best]
        if BASELINE in timed:
            own = list(timed).index(BASELINE)
            ratios.append(logs[own] - logs)  # of dense exactly 0, whatever it took
        found = [Estimate.of_logs(each) for each in ratios]
        return {name: Estimates(*each) for name, *each in zip(timed, *found, strict=True)}


class Estimates(NamedTuple):
    """A time in seconds, over that of the fastest that decides, and dense over it if timed."""

    seconds: Estimate
    relative: Estimate
    speedup: Estimate | None = None


class Group(NamedTuple):
    """Points that agree in some fields: those fields in words, and a name for a file."""

    name: str
    title: str
    points: list[Point]


def points(records: Iterable[Record]) -> list[Point]:
    """Return the newest record of every case on every machine as points, in a fixed order.

    Rivals share the software that all implementations stand on, too: after an upgrade of torch
    those that were measured before stay each other's.
    """
    ordered = sorted(records, key=_started)
    newest = {(_identity(r.machine), r.case.key): r for r in ordered}
    names = machine_names(r.machine for r in newest.values())
    problems: dict[tuple[Any, ...], Rivals] = defaultdict(Rivals)
    for record in ordered:
        identity = _identity(record.machine)
        rivals = problems[identity, software.shared(record.software), *record.case.problem]
        rivals[record.case.implementation] = Point(record, names[identity], rivals)
    every = (p for rivals in problems.values() for p in rivals.values())
    shown = (p for p in every if newest[_identity(p.record.machine), p.case.key] is p.record)
    return sorted(shown, key=_order)


def group(points: Iterable[Point], *names: str) -> dict[tuple[Any, ...], list[Point]]:
    """Return the points by the values of the fields `names`, in the order they come."""
    groups: dict[tuple[Any, ...], list[Point]] = defaultdict(list)
    for point in points:
        groups[tuple(point.get(name) for name in names)].append(point)
    return dict(groups)


def split(
    points: Sequence[Point], *names: str, conditions: Sequence[str] = CONDITIONS
) -> Iterator[Group]:
    """Yield the points that may be shown together: those that agree in `conditions` and `names`.

    The name of a group holds the values of `names`, and of a condition only where it varies.
    """
    varying = [c for c in conditions if len({p.get(c) for p in points}) > 1]
    for key, members in group(points, *conditions, *names).items():
        values = dict(zip((*conditions, *names), key, strict=True))
        slug = "-".join(_slug(name, values[name]) for name in (*names, *varying))
        yield Group(slug, _phrase(values), members)


def main_phases(points: Iterable[Point]) -> list[str]:
    """Return the phases among `points`; forward + backward only where no training step has it."""
    found = {p.case.phase for p in points}
    if "train_step" in found:
        found.discard("forward_backward")
    return [phase for phase in PHASES if phase in found]


def sizes(points: Iterable[Point]) -> list[str]:
    """Return the sizes of the layers, the small ones first."""
    found = {p.size: _extent(p.case) for p in points}
    return sorted(found, key=lambda size: found[size])


def curves(points: Sequence[Point]) -> Sequence[Point]:
    """Return the points to draw in a panel for each layer: of many, those with most sparsities.

    Of sizes and batches that are still many some are drawn, from the smallest to the largest: the
    tables have all.
    """
    if len(sizes(points)) > _PANELS:
        layers = group(points, "size", "batch")
        counts = {key: len({p.case.sparsity for p in members}) for key, members in layers.items()}
        most = max(counts.values())
        points = [p for key, members in layers.items() if counts[key] == most for p in members]
    widths = set(_spread(sizes(points)))
    batches = set(_spread(sorted({p.case.batch for p in points})))
    return [p for p in points if p.size in widths and p.case.batch in batches]


def _spread(values: Sequence[T]) -> list[T]:
    """Return at most _MOST of `values`, evenly from the first to the last."""
    if len(values) <= _MOST:
        return list(values)
    return [values[round(n * (len(values) - 1) / (_MOST - 1))] for n in range(_MOST)]


def implementations(points: Iterable[Point]) -> list[str]:
    """Return the names of the implementations: ours, then the others, then the dense ones."""
    return sorted({p.case.implementation for p in points}, key=_rank)


def machine_names(machines: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return a name for each machine by its identity, with as much of it as tells them apart."""
    models = {}
    for machine in machines:
        cpu, gpus = machine.get("cpu", {}), machine.get("gpus", [])
        parts = [str(cpu.get("model", "this machine")), *(str(gpu["name"]) for gpu in gpus)]
        models[_identity(machine)] = " + ".join(map(_plain, parts))
    same = Counter(models.values())
    return {
        identity: f"{name} ({identity})" if same[name] > 1 else name
        for identity, name in models.items()
    }


@lru_cache(maxsize=_KEPT)
def _time(point: Point) -> Draws:
    return point._draws("samples")


def _identity(machine: Mapping[str, Any]) -> str:
    return str(machine.get("id", ""))


def _started(record: Record) -> str:
    return record.started


def _plain(model: str) -> str:
    """Return a processor's name without what its maker adds: Intel(R) Xeon(R) … -> Intel Xeon."""
    return " ".join(re.sub(r"\((R|TM|r|tm)\)|\b(CPU|Processor)\b|@.*", "", model).split())


def place(case: Case, machine: str) -> str:
    """Return in words what computes: the machine, and its device, or how many of its threads."""
    threads = "1 thread" if case.threads == 1 else f"{case.threads} threads"
    return f"{machine}, {case.device if case.device != 'cpu' else threads}"


def _phrase(values: Mapping[str, Any]) -> str:
    parts = [values["machine"], values["device"], values["dtype"]]
    if values["device"] == "cpu" and "threads" in values:
        parts.append("1 thread" if values["threads"] == 1 else f"{values['threads']} threads")
    if values["operation"] != "linear":
        parts.append(values["operation"])
    if values.get("topology", "random") != "random":
        parts.append(f"{values['topology']} connections")
    if values.get("gradients") == "kept":
        parts.append("gradients kept")
    if values.get("cache") == "cold":
        parts.append("weights from memory")
    return ", ".join(parts)


def _slug(name: str, value: Any) -> str:
    text = f"{value}{name}" if name in ("threads", "seed", "cache") else str(value)
    text = f"gradients_{text}" if name == "gradients" else text
    return "".join(c if c.isalnum() or c in "_." else "_" for c in text)


def _extent(case: Case) -> tuple[int, ...]:
    """Return what layers are ordered by: 3×3 convolutions before 1×1, networks in their order."""
    window = (-case.kernel, case.stride, case.in_features, case.out_features)
    return *window, case.image, case.padding, case.groups, round(1e4 * case.input_sparsity)


def _rank(implementation: str) -> tuple[int, str]:
    order = {LEAD: 0, "masked": 2, "dense_compiled": 3, BASELINE: 4}
    return order.get(implementation, 1), implementation


def _order(point: Point) -> tuple[Any, ...]:
    case = point.case
    conditions = tuple(point.get(name) for name in CONDITIONS)
    problem = (PHASES.index(case.phase), case.batch, *_extent(case))
    return *conditions, *problem, case.sparsity, _rank(case.implementation)

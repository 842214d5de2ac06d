"""Records made findable: one per case and machine, each beside the others of its problem."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import numpy as np

from sparsebench.analysis.estimates import Draws, Estimate
from sparsebench.analysis.series import Series, draws_of
from sparsebench.cases.case import USUAL, Case
from sparsebench.records import Record, software
from sparsebench.records.record import Series as Samples

BASELINE = "dense"
LEAD = "ours"
PHASES = ("construction", "rewiring", "inference", "forward_backward", "train_step")

_PANELS = 6  # along a side of a figure: of more sizes, or batches, each would be too small to read
_ROWS = 40  # of draws at once: as many as the caches hold
_KEPT = 512  # problems, each of 8 kB for a rival: of more, draws are made anew when asked for

T = TypeVar("T")

# What has to agree before two points may share a table row or a curve.
CONDITIONS = ("machine", "device", "dtype", "threads", "operation", "topology", "seed", *USUAL)
_conditions = itemgetter(*CONDITIONS)


@dataclass(frozen=True, eq=False)
class Point:
    """The newest record of a case on a machine.

    `rivals` are the points of the same problem on the same machine, with the same software, by
    implementation, this one included: the only ones that a ratio may use.
    """

    record: Record
    machine: str
    rivals: Rivals = field(repr=False)
    kept: dict[object, Any] = field(default_factory=dict, repr=False)  # by `once`

    @cached_property
    def case(self) -> Case:
        """What was measured."""
        return self.record.case

    @cached_property
    def rounds(self) -> Series:
        """What it took in seconds by rounds; only where `ok`."""
        return self._series("samples")

    @cached_property
    def hot(self) -> Series:
        """The same for a GPU with a hot L2 cache; only where that was measured."""
        return self._series("hot_samples")

    @cached_property
    def wall(self) -> Series:
        """The same from end to end; only where that was measured."""
        return self._series("wall_samples")

    @cached_property
    def ok(self) -> bool:
        """Whether there is a time to speak of."""
        return self.record.status == "ok" and bool(self.record.samples)

    @cached_property
    def seconds(self) -> Estimate:
        """The median time of a call in seconds with its interval; only where `ok`."""
        return self.rounds.estimate

    @property
    def time(self) -> Draws:
        """The same, and its replicas."""
        return np.asarray(np.exp(self.logs))

    @property
    def logs(self) -> Draws:
        """The logarithms of the same."""
        return _logs(self.rivals)[self.case.implementation]

    def _series(self, samples: Samples) -> Series:
        record = self.record
        # Where rounds begin was not kept at first: then all samples together have the median.
        value = None if record.rounds else float(np.median(getattr(record, samples)))
        numbers = record.numbers
        # Those that other work did not disturb; all where it disturbed every round.
        kept = {numbers[n]: median for n, median in record.clean_medians(samples).items()}
        return Series.of(kept, self.rivals.name, value)

    @cached_property
    def disturbed(self) -> str:
        """Why its time decides nothing: no sentence, winner or crossover; "" if it does."""
        return self.record.disturbed

    @cached_property
    def decides(self) -> bool:
        """Whether there is a time to draw conclusions from, for all that is known."""
        return self.ok and not self.disturbed

    @property
    def unsure(self) -> bool:
        """Whether its ratio to the dense layer decides nothing: one of the two was disturbed."""
        return bool(self.disturbed or (self.baseline and self.baseline.disturbed))

    @cached_property
    def baseline(self) -> Point | None:
        """The dense layer on the same problem, where it was timed."""
        dense = self.rivals.get(BASELINE)
        return dense if dense is not None and dense.ok else None

    @property
    def size(self) -> str:
        """The layer in short: its width, both where they differ, the window of a convolution."""
        return self.case.size

    @cached_property
    def fields(self) -> dict[str, Any]:
        """What points are grouped by: the fields of the case, `problem`, `machine` and `size`."""
        case = self.case
        values = {**vars(case), "problem": case.problem, "machine": self.machine, "size": case.size}
        return values if case.device == "cpu" else values | dict.fromkeys(USUAL, "")

    def get(self, name: str) -> Any:
        """Return one of the `fields`; "" for what a GPU has not."""
        return self.fields[name]


class Rivals(dict[str, Point]):
    """The points of a problem on a machine by implementation."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[object, Any] = {}  # what was found out about them

    @cached_property
    def name(self) -> str:
        """What is measured in the same rounds: rivals are, and so are numbers of threads."""
        one = next(iter(self.values()))
        return f"{one.machine} {one.case.contest}"

    @cached_property
    def timed(self) -> dict[str, Point]:
        """Those that have a time, by name: sums depend on their order in the last bits."""
        return {name: point for name, point in sorted(self.items()) if point.ok}

    @cached_property
    def sure(self) -> tuple[int, ...]:
        """Which of those that have a time decide: other work left them alone."""
        return tuple(n for n, point in enumerate(self.timed.values()) if point.decides)

    def relative(self) -> dict[str, Estimate]:
        """Return the time of each over that of the fastest that other work left alone."""
        if relate not in self.kept:
            relate([self])
        found: dict[str, Estimate] = self.kept[relate]
        return found

    def behind(self) -> dict[str, Draws]:
        """Return the logarithms of the same with replicas, independent of other problems'."""
        logs = _logs(self)
        return dict(zip(logs, _behind(np.stack([*logs.values()]), self.sure), strict=True))

    # Each is a set of its own, whatever is in it.
    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def relate(problems: Iterable[Rivals]) -> None:
    """Find out what `relative` says of many problems: together, in a fraction of the time."""
    alike: dict[tuple[int, ...], list[Rivals]] = defaultdict(list)
    for rivals in {id(each): each for each in problems}.values():
        if relate in rivals.kept:
            continue
        series = [point.rounds for point in rivals.timed.values()]
        if not series:
            rivals.kept[relate] = {}
        elif len(rivals.sure) == 1:  # then there is no least of several
            (first,) = (series[n] for n in rivals.sure)
            rivals.kept[relate] = {
                n: one.over(first) for n, one in zip(rivals.timed, series, strict=True)
            }
        else:
            alike[len(series), *rivals.sure].append(rivals)
    for (count, *sure), found in alike.items():
        step = max(1, _ROWS // count)
        for begin in range(0, len(found), step):
            _relate(found[begin : begin + step], count, sure)


def _relate(problems: Sequence[Rivals], count: int, sure: Sequence[int]) -> None:
    """Do so for problems that have as many rivals, of which the same decide."""
    series = [point.rounds for rivals in problems for point in rivals.timed.values()]
    # Draws of any name will do, which rivals share: they are never compared with other problems'.
    logs = draws_of(series, "").reshape(len(problems), count, -1)
    rows = _behind(logs, sure).reshape(len(series), -1)
    estimates = iter(Estimate.of_logs(rows))
    for rivals in problems:
        rivals.kept[relate] = {name: next(estimates) for name in rivals.timed}


def _behind(logs: Draws, sure: Sequence[int]) -> Draws:
    """Return logarithms (…, rivals, draws) over those of the least of the `sure` rivals."""
    return logs - (logs[..., list(sure), :].min(axis=-2, keepdims=True) if sure else logs)


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
    names = machine_names({_identity(r.machine): r.machine for r in newest.values()}.values())
    problems: dict[tuple[Any, ...], Rivals] = defaultdict(Rivals)
    for record in ordered:
        identity = _identity(record.machine)
        rivals = problems[identity, software.shared(record.software), *record.case.problem]
        rivals[record.case.implementation] = Point(record, names[identity], rivals)
    every = (p for rivals in problems.values() for p in rivals.values())
    shown = (p for p in every if newest[_identity(p.record.machine), p.case.key] is p.record)
    return _in_order(list(shown))


def forget(points: Iterable[Point]) -> None:
    """Let go of points that nobody else has.

    They refer to each other: they, and their records, would stay until garbage is collected.
    """
    for rivals in {id(point.rivals): point.rivals for point in points}.values():
        for point in rivals.values():
            vars(point).clear()


def group(points: Iterable[Point], *names: str) -> dict[tuple[Any, ...], list[Point]]:
    """Return the points by the values of the fields `names`, in the order they come."""
    groups: dict[tuple[Any, ...], list[Point]] = defaultdict(list)
    values = itemgetter(*names) if len(names) > 1 else lambda fields: (fields[names[0]],)
    for point in points:
        groups[values(point.fields)].append(point)
    return dict(groups)


def split(
    points: Sequence[Point], *names: str, conditions: Sequence[str] = CONDITIONS
) -> Iterator[Group]:
    """Yield the points that may be shown together: those that agree in `conditions` and `names`.

    The name of a group holds the values of `names`, and of a condition only where it varies.
    """
    groups = group(points, *conditions, *names)
    varying = [c for n, c in enumerate(conditions) if len({key[n] for key in groups}) > 1]
    for key, members in groups.items():
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
    """Return at most _PANELS of `values`, evenly from the first to the last."""
    if len(values) <= _PANELS:
        return list(values)
    return [values[round(n * (len(values) - 1) / (_PANELS - 1))] for n in range(_PANELS)]


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
def _logs(rivals: Rivals) -> dict[str, Draws]:
    """Return the logarithms of the draws of those that were timed, by their names."""
    rows = draws_of([point.rounds for point in rivals.timed.values()], rivals.name)
    return dict(zip(rivals.timed, rows, strict=True))


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


def _in_order(points: Sequence[Point]) -> list[Point]:
    """Sort by the conditions, then by the problem, then by who measured."""
    of = [_conditions(point.fields) for point in points]
    places = {found: n for n, found in enumerate(sorted(set(of)))}  # compared once, not each time

    def order(numbered: tuple[int, Point]) -> tuple[Any, ...]:
        number, point = numbered
        case = point.case
        problem = (PHASES.index(case.phase), case.batch, *_extent(case), case.sparsity)
        return places[of[number]], *problem, _rank(case.implementation)

    return [point for _, point in sorted(enumerate(points), key=order)]

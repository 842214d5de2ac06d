"""Point: a record that counts, beside those of its rivals."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

import numpy as np

from sparsebench.analysis.estimates import Draws, Estimate
from sparsebench.analysis.series import Series, draws_of
from sparsebench.cases.case import USUAL, Case
from sparsebench.lazy import lazy
from sparsebench.records import Record
from sparsebench.records.record import Series as Samples

_FIELDS = [field.name for field in fields(Case)]

BASELINE = "dense"
LEAD = "ours"

_KEPT = 512  # problems, each of 8 kB for a rival: of more, draws are made anew when asked for


@dataclass(frozen=True, eq=False, init=False)
class Point:
    """The newest record of a case on a machine.

    `rivals` are the points of the same problem on the same machine, with the same software, by
    implementation, this one included: the only ones that a ratio may use.
    """

    record: Record
    case: Case = field(repr=False)  # what was measured
    machine: str
    rivals: Rivals = field(repr=False)
    kept: dict[object, Any] = field(repr=False)  # by `once`

    def __init__(self, record: Record, machine: str, rivals: Rivals) -> None:
        # What a frozen dataclass does by itself takes three times as long, of each of thousands.
        own = vars(self)
        own["record"], own["case"], own["kept"] = record, record.case, {}
        own["machine"], own["rivals"] = machine, rivals

    @lazy
    def rounds(self) -> Series:
        """What it took in seconds by rounds; only where `ok`."""
        return self._series("samples")

    @lazy
    def hot(self) -> Series:
        """The same for a GPU with a hot L2 cache; only where that was measured."""
        return self._series("hot_samples")

    @lazy
    def wall(self) -> Series:
        """The same from end to end; only where that was measured."""
        return self._series("wall_samples")

    @lazy
    def ok(self) -> bool:
        """Whether there is a time to speak of."""
        return self.record.status == "ok" and bool(self.record.samples)

    @lazy
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
        return self.rivals.logs[self.case.implementation]

    def _series(self, samples: Samples) -> Series:
        record = self.record
        # Where rounds begin was not kept at first: then all samples together have the median.
        value = None if record.rounds else float(np.median(getattr(record, samples)))
        numbers = record.numbers
        # Those that other work did not disturb; all where it disturbed every round.
        kept = {numbers[n]: median for n, median in record.clean_medians(samples).items()}
        return Series.of(kept, self.rivals.name, value)

    @lazy
    def disturbed(self) -> str:
        """Why its time decides nothing: no sentence, winner or crossover; "" if it does."""
        return self.record.disturbed

    @lazy
    def decides(self) -> bool:
        """Whether there is a time to draw conclusions from, for all that is known."""
        return self.ok and not self.disturbed

    @property
    def unsure(self) -> bool:
        """Whether its ratio to the dense layer decides nothing: one of the two was disturbed."""
        return bool(self.disturbed or (self.baseline and self.baseline.disturbed))

    @lazy
    def baseline(self) -> Point | None:
        """The dense layer on the same problem, where it was timed."""
        dense = self.rivals.get(BASELINE)
        return dense if dense is not None and dense.ok else None

    @property
    def size(self) -> str:
        """The layer in short: its width, both where they differ, the window of a convolution."""
        size: str = self.rivals.fields["size"]
        return size

    @lazy
    def fields(self) -> dict[str, Any]:
        """What points are grouped by: the fields of the case, `problem`, `machine` and `size`."""
        return self.rivals.fields | {"implementation": self.case.implementation}

    def get(self, name: str) -> Any:
        """Return one of the `fields`; "" for what a GPU has not."""
        return self.fields[name]


class Rivals(dict[str, Point]):
    """The points of a problem on a machine by implementation."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[object, Any] = {}  # what was found out about them

    @lazy
    def name(self) -> str:
        """What is measured in the same rounds: rivals are, and so are numbers of threads."""
        one = next(iter(self.values()))
        return f"{one.machine} {one.case.contest}"

    @lazy
    def fields(self) -> dict[str, Any]:
        """What all of them are grouped by."""
        one = next(iter(self.values()))
        case = one.case
        values = {name: getattr(case, name) for name in _FIELDS}
        values |= {"problem": case.problem, "machine": one.machine, "size": case.size}
        return values if case.device == "cpu" else values | dict.fromkeys(USUAL, "")

    @lazy
    def timed(self) -> dict[str, Point]:
        """Those that have a time, by name: sums depend on their order in the last bits."""
        return {name: point for name, point in sorted(self.items()) if point.ok}

    @lazy
    def sure(self) -> tuple[int, ...]:
        """Which of those that have a time decide: other work left them alone."""
        return tuple(n for n, point in enumerate(self.timed.values()) if point.decides)

    @property
    def logs(self) -> dict[str, Draws]:
        """The logarithms of the draws of those that were timed, by their names."""
        return _logs(self)

    # Each is a set of its own, whatever is in it.
    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


@lru_cache(maxsize=_KEPT)
def _logs(rivals: Rivals) -> dict[str, Draws]:
    """Draw them."""
    rows = draws_of([point.rounds for point in rivals.timed.values()], rivals.name)
    return dict(zip(rivals.timed, rows, strict=True))

"""The parent: order, resume, isolate; the only writer of records.

Cases that share a problem, threads aside, are measured one after the other, in rounds: every
implementation once, then every one again in the opposite order, each time in a process of its own.
The samples of a case's rounds are joined. So both sides of a ratio are taken within seconds of each
other, a steady drift of the machine's speed cancels, and what differs from process to process is
sampled too: the pages of memory that it gets; and, where a pass over a sweep takes a minute, the
addresses of code and data, which are those of the process that all of a pass are forked from. What
several implementations need alike, the problem's numbers and the oracle's answer, is computed once,
in a process before them.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sparsebench.cases.case import USUAL, Case
from sparsebench.cases.settings import Settings
from sparsebench.errors import StoreError
from sparsebench.interruption import Interrupted
from sparsebench.measuring import isolation, quality, worker
from sparsebench.measuring.isolation import Failure
from sparsebench.measuring.refusals import refusal
from sparsebench.measuring.timing import SLOW_S, Times
from sparsebench.measuring.worker import Outcome
from sparsebench.records import Record, Round, Store

_KNOWN = 8  # turns, before they say how long constant work takes here


def ordered(cases: list[Case], seed: int) -> list[Case]:
    """Shuffle contests, and the implementations of each, so that no one is always first.

    Contests that differ in the phase alone stay together: they share their numbers.
    """
    cases = list(cases)
    random.Random(seed).shuffle(cases)
    place: dict[tuple[Any, ...], int] = {}
    for case in cases:
        place.setdefault(numbers(case), len(place))
        place.setdefault(case.contest, len(place))
    return sorted(cases, key=lambda case: (place[numbers(case)], place[case.contest]))


def run(
    cases: list[Case],
    store: Store,
    settings: Settings,
    *,
    machine: Callable[[Case], dict[str, Any]],
    under_way: Callable[[Case], None] = lambda case: None,
    deadline: float | None = None,
    hold: Callable[[Case], AbstractContextManager[None]] = lambda case: nullcontext(),
    again: Mapping[Case, Again] = MappingProxyType({}),
    loops: Iterable[float] = (),
) -> Iterator[Record]:
    """Measure `cases`; append each record to `store` and yield it.

    `machine` returns the fingerprint to record with a case, `under_way` is told which one is
    being measured. No new contest is begun after `deadline` (of `time.monotonic`). The cases of a
    contest are measured within `hold` of the first. Of `again` are those that had rounds before,
    and take one more; `loops` are seconds that constant work took in earlier turns.
    """
    cases = ordered(cases, settings.seed)
    position = {case: number for number, case in enumerate(cases)}
    this = {"id": datetime.now(UTC).strftime("%Y%m%dT%H%M%S"), "seed": settings.seed}
    bench = Bench(store.folder / ".scratch", settings, under_way, Pace(loops))

    def joined(turns: Turns) -> Record:
        return turns.record(machine(turns.case), this | {"position": position[turns.case]})

    try:
        for _, group in groupby(cases, key=lambda case: case.contest):
            if deadline is not None and time.monotonic() > deadline:
                return
            rivals = list(group)
            with hold(rivals[0]):
                for turns in bench.measure(rivals, again):
                    record = joined(turns)
                    store.append(record)
                    yield record
    except (Interrupted, KeyboardInterrupt, GeneratorExit):
        for turns in bench.begun:  # what had a round is kept: only the turn under way is lost
            if not turns.lost:
                store.append(joined(turns))
        raise
    finally:
        bench.clear()


def loops(records: Iterable[Record]) -> list[float]:
    """Return the seconds that constant work took in the turns of `records`: see `run`."""
    turns = [turn for record in records for turn in record.rounds]
    return [own for turn in turns if (own := quality.pace(turn.conditions)) is not None]


class Bench:
    """Where cases are measured, one at a time; keeps the numbers of the last problem."""

    def __init__(
        self,
        scratch: Path,
        settings: Settings,
        under_way: Callable[[Case], None],
        pace: Pace,
    ) -> None:
        self._scratch, self._settings, self._under_way = scratch, settings, under_way
        self._pace = pace
        self._prepared: tuple[Any, ...] = ()
        self._every: list[Turns] = []
        self.clear()  # what a killed run left

    def measure(
        self, rivals: Sequence[Case], again: Mapping[Case, Again] = MappingProxyType({})
    ) -> Iterator[Turns]:
        """Measure the cases of one contest in rounds; yield each when it has had its last.

        Those that are taken `again` and fail are not yielded: the rounds before are there, and
        right.
        """
        every = self._every = [Turns(case, again=again.get(case)) for case in rivals]
        for number in range(self._settings.rounds):
            for turns in every if number % 2 == 0 else reversed(every):
                if turns.over:
                    continue
                self._under_way(turns.case)
                with turns:
                    turns.outcomes.append(self._turn(turns))
                if turns.over or number == self._settings.rounds - 1:
                    turns.ended = True
                    if not turns.lost:
                        yield turns

    @property
    def begun(self) -> list[Turns]:
        """Those that had a round, and not yet their last."""
        return [turns for turns in self._every if turns.outcomes and not turns.ended]

    def clear(self) -> None:
        """Remove the numbers kept on disk."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _turn(self, turns: Turns) -> Outcome:
        case, earlier = turns.case, turns.earlier
        if earlier is None and (reason := refusal(case)):
            return Outcome("unsupported", reason)
        if self._prepared != numbers(case):
            failed = self._prepare(case)
            if failed:
                return failed
        started = datetime.now(UTC).isoformat("T", "seconds")
        outcome = self._attempt(
            worker.measure, case, self._scratch, self._settings.sample_s, earlier
        )
        turn = replace(outcome.round, started=started)
        return replace(outcome, round=turn if case.device != "cpu" else self._pace.judged(turn))

    def _prepare(self, case: Case) -> Outcome | None:
        """Have the numbers of `case` computed; return how that failed, if it did."""
        self._prepared = ()
        self.clear()
        self._scratch.mkdir()
        needed, free = problem_bytes(case), shutil.disk_usage(self._scratch).free
        if needed > free:
            raise StoreError(
                f"{self._scratch}: the disk is full: {needed / 1e6:.0f} MB are needed for a "
                f"problem's numbers, {free / 1e6:.0f} MB are free; the records are intact"
            )
        outcome = self._attempt(worker.prepare, case, self._scratch)
        if outcome.status == "unsupported":
            return outcome
        if outcome.status != "ok":
            return replace(outcome, message=f"preparing the problem: {outcome.message}")
        self._prepared = numbers(case)
        return None

    def _attempt(self, function: Callable[..., Outcome], *args: Any) -> Outcome:
        """Call `function` in a process of its own; how that fails is an outcome too."""
        try:
            outcome: Outcome = isolation.call(
                function, *args, timeout_s=self._settings.timeout_s, log=self._scratch / "log"
            )
        except Failure as failure:
            return Outcome(failure.status, str(failure))
        return outcome


@dataclass(frozen=True)
class Again:
    """A case is taken once more: with how many calls a sample, and for the how-manieth time.

    `host` is which of a cluster's has measured it before: the only one that can go on with it.
    """

    calls: int
    number: int
    host: str = ""


class Pace:
    """How long constant work took in the turns so far: where it took much longer, all did."""

    def __init__(self, loops: Iterable[float] = ()) -> None:
        self._loops = list(loops)

    def judged(self, turn: Round) -> Round:
        """Return `turn` with what its calibration loop says beside those of the turns before."""
        if (own := quality.pace(turn.conditions)) is None:
            return turn
        self._loops.append(own)
        if turn.disturbed or len(self._loops) <= _KNOWN:
            return turn
        usual = sorted(self._loops)[len(self._loops) // 4]
        if (times := own / usual) <= quality.SLOWER:
            return turn
        why = f"constant work took {times:.2g} times as long as in other turns"
        return replace(turn, disturbed=why)


@dataclass
class Turns:
    """What the rounds of a case brought so far. As a context manager it takes the time of one."""

    case: Case
    outcomes: list[Outcome] = field(default_factory=list)
    ended: bool = False
    started: str = ""
    wall_s: float = 0.0
    again: Again | None = None

    def __enter__(self) -> None:
        self.started = self.started or datetime.now(UTC).isoformat("T", "seconds")
        self.wall_s -= time.monotonic()

    def __exit__(self, *exception: object) -> None:
        self.wall_s += time.monotonic()

    @property
    def earlier(self) -> Times | None:
        """What a round before this one timed, here or in an earlier run; None in the first."""
        if self.outcomes:
            return self.outcomes[0].times
        return Times(calls_per_sample=self.again.calls) if self.again else None

    @property
    def over(self) -> bool:
        """Whether more rounds would bring nothing: it failed, or is so slow that one says all."""
        if not self.outcomes:
            return False
        last = self.outcomes[-1]
        return last.status != "ok" or min(last.times.samples) > SLOW_S

    @property
    def lost(self) -> bool:
        """Whether nothing came of it that says more than the rounds that there were before."""
        return self.again is not None and self.outcomes[-1].status not in ("ok", "incorrect")

    def record(self, machine: dict[str, Any], run: dict[str, Any]) -> Record:
        """Join the rounds."""
        first, last = self.outcomes[0], self.outcomes[-1]
        times = [outcome.times for outcome in self.outcomes] if last.status == "ok" else []
        return Record(
            case=self.case,
            status=last.status,
            message=last.message,
            samples=[sample for t in times for sample in t.samples],
            hot_samples=[sample for t in times for sample in t.hot],
            wall_samples=[sample for t in times for sample in t.wall],
            calls_per_sample=times[0].calls_per_sample if times else 0,
            errors={name: float(f"{error:.3g}") for name, error in first.errors.items()},
            memory=first.memory,
            tuning_s=round(max(outcome.tuning_s for outcome in self.outcomes), 3),
            wall_s=round(self.wall_s, 3),
            started=self.started,
            machine=machine,
            run=run | {"rounds": len(times)},
            rounds=[self._round(outcome) for outcome in self.outcomes if times],
        )

    def _round(self, outcome: Outcome) -> Round:
        times = outcome.times
        return replace(
            outcome.round,
            samples=len(times.samples),
            hot_samples=len(times.hot),
            wall_samples=len(times.wall),
            calls_per_sample=times.calls_per_sample,
            retaken=self.again.number if self.again else 0,
        )


def problem_bytes(case: Case) -> int:
    """Return at most how many bytes the numbers of `case` take on disk, the oracle's included."""
    return 32 * case.nnz + 32 * (case.batch + 1) * (case.inputs + case.outputs)


def numbers(case: Case) -> tuple[Any, ...]:
    """What cases that get the same numbers have in common: their contest but for the phase.

    And but for how gradients and caches are treated.
    """
    usual = {name: value for name, value in USUAL.items() if name != "input_sparsity"}
    return replace(case, implementation="", phase="inference", **usual).contest

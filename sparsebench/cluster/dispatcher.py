"""The client of a sweep on a cluster: places contests, takes records in, and alone writes them.

A contest runs on one worker, whole, so that both sides of every ratio come from one machine. If
that worker dies or hangs, all of it is measured again on another, and what had arrived of it is
replaced. What was disturbed and is taken again goes to the host that had it, or nowhere: its rounds
are added to those before. One host measures one contest at a time.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby
from types import MappingProxyType
from typing import Any, Protocol

from sparsebench.cases.case import Case
from sparsebench.cases.settings import Settings
from sparsebench.cluster.connection import Cluster, Ended
from sparsebench.cluster.crew import Crew, Member
from sparsebench.cluster.messages import Task, Told, from_json, short, to_json
from sparsebench.errors import ClusterError
from sparsebench.measuring.runner import Again, numbers, ordered
from sparsebench.records import Record, Store

ATTEMPTS = 3  # the first, and twice on another worker
_TICK_S = 0.25


class Watcher(Protocol):
    """Who shows what goes on where."""

    def under_way_on(self, worker: str, case: Case) -> None:
        """`worker` measures `case`."""

    def waiting(self, why: str) -> None:
        """Nothing is measured somewhere, or something went wrong and goes on."""

    def idle(self, worker: str) -> None:
        """`worker` has ended a contest, or is gone."""

    def counted(self, worker: str) -> None:
        """The next record comes from `worker`."""


@dataclass(eq=False)
class _Job:
    """A contest: its task as it was last sent, where, and where it has failed."""

    task: Task
    numbers: tuple[Any, ...]
    member: Member | None = None
    failed_on: list[str] = field(default_factory=list)
    over: bool = False

    @property
    def host(self) -> str | None:
        """The only one that may measure it, as it had the rounds before; None where any may."""
        return self.task.again[0].host if self.task.again else None

    @property
    def key(self) -> str:
        return f"contest {self.task.number} {self.task.attempt}"


class Dispatcher:
    """Measures cases on the members of a crew.

    With `together`, GPUs of a host are measured at the same time. `timeout_s` is how long there
    may be no worker at all. `earlier` are records of the folder that new ones may replace. Contests
    are numbered from `first`: what comes late of those of another dispatcher is told by that.
    """

    def __init__(
        self,
        cluster: Cluster,
        crew: Crew,
        store: Store,
        settings: Settings,
        watcher: Watcher,
        *,
        together: bool = False,
        timeout_s: float = 30.0,
        earlier: Sequence[Record] = (),
        first: int = 0,
    ) -> None:
        self._cluster, self._crew, self._store, self._watcher = cluster, crew, store, watcher
        self._settings, self._together, self._timeout_s = settings, together, timeout_s
        self._first = first
        self._kept: dict[str, dict[str, int]] = {}  # attempt by case and machine
        for record in earlier:
            self._note(record, -1)
        self._new: set[Case] = set()
        self._superseded: set[tuple[str, str]] = set()
        self._replaced = False
        self._last_numbers: dict[str, tuple[Any, ...]] = {}
        self._alone_since: float | None = None

    def run(
        self,
        cases: list[Case],
        deadline: float | None = None,
        again: Mapping[Case, Again] = MappingProxyType({}),
    ) -> Iterator[Record]:
        """Measure `cases`; append each record and yield it: the first of each case.

        No contest is begun after `deadline` (of `time.monotonic`). Of `again` are those that had
        rounds before, or none is. Raises ClusterError where the scheduler is gone, or all workers
        for too long: what arrived is on disk.
        """
        self._jobs = self._contests(cases, again)
        self._waiting, self._running = list(self._jobs.values()), list[_Job]()
        try:
            while self._waiting or self._running:
                yield from self._lose(self._crew.look())
                self._leave_absent()
                if deadline is None or time.monotonic() < deadline:
                    self._place()
                elif not self._running:
                    return
                self._check_somebody_is_there()
                yield from self._take_in()
        finally:
            if self._replaced or self._superseded:
                self._store.drop(self._superseded)  # which also leaves one of each identity

    def _contests(self, cases: list[Case], again: Mapping[Case, Again]) -> dict[int, _Job]:
        cases = ordered(cases, self._settings.seed)
        position = {case: number for number, case in enumerate(cases)}
        run = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")

        def place(case: Case) -> tuple[Any, ...]:
            return (again[case].host if case in again else None, case.contest)

        contests = [tuple(rivals) for _, rivals in groupby(cases, key=place)]
        tasks = [
            Task(
                run=run,
                seed=self._settings.seed,
                number=number,
                attempt=0,
                cases=rivals,
                positions=tuple(position[case] for case in rivals),
                settings=self._settings,
                together=self._together,
                again=tuple(again[case] for case in rivals if case in again),
            )
            for number, rivals in enumerate(contests, self._first)
        ]
        return {task.number: _Job(task, numbers(task.cases[0])) for task in tasks}

    def _take_in(self) -> Iterator[Record]:
        """Take in what has come, after waiting for the first of it a little."""
        wait = _TICK_S
        while True:
            try:
                message = self._cluster.inbox.get(timeout=wait)
            except queue.Empty:
                return
            wait = 0.0
            if isinstance(message, str):
                yield from self._told(from_json(Told, message))
            elif message.key.startswith("greet "):
                self._crew.greeted(message)
            else:
                yield from self._ended(message)
                return  # a place is free: fill it before all else

    def _told(self, told: Told) -> Iterator[Record]:
        job = self._jobs.get(told.number)
        if job is None:
            return  # of an earlier dispatcher, which had it with the answer
        if told.record is not None:
            yield from self._keep(job, told.attempt, told.record)
        elif job.member is not None and told.attempt == job.task.attempt:
            if told.kind == "under_way":
                self._watcher.under_way_on(job.member.name, job.task.cases[told.index])
            elif told.kind == "waiting":
                self._watcher.waiting(f"{job.member.name}: {told.text}")

    def _ended(self, ended: Ended) -> Iterator[Record]:
        job = next((job for job in self._running if job.key == ended.key), None)
        if job is None or job.member is None:
            return  # of a worker that was given up: its records, if any, have come as they were
        if ended.error:
            yield from self._failed(job, ended.error)
            return
        for line in ended.answer:
            told = from_json(Told, line)
            if told.record is not None:
                yield from self._keep(job, told.attempt, told.record)
        if not job.task.again:
            self._supersede(job, str(job.member.greeting.machine["id"]))
        self._free(job, over=True)

    def _supersede(self, job: _Job, machine: str) -> None:
        """What an earlier worker had sent of a contest would stand alone: `machine` has it all."""
        for case in job.task.cases:
            known = self._kept.get(case.key, {})
            others = {other for other in known if other.partition(" ")[0] != machine}
            self._superseded |= {(case.key, other) for other in others}

    def _keep(self, job: _Job, attempt: int, record: Record) -> Iterator[Record]:
        """Write `record` unless it has come already, or a later attempt has brought another."""
        key, machine = record.identity
        known = self._kept.get(key, {}).get(machine)
        if job.over or (known is not None and known >= attempt):
            return
        self._replaced |= known is not None
        self._store.append(record)
        self._note(record, attempt)
        if record.case not in self._new:
            self._new.add(record.case)
            if job.member is not None:
                self._watcher.counted(job.member.name)
            yield record

    def _note(self, record: Record, attempt: int) -> None:
        key, machine = record.identity
        self._kept.setdefault(key, {})[machine] = attempt

    def _lose(self, gone: Sequence[Member]) -> Iterator[Record]:
        """Take contests away from workers that are gone or hang."""
        for job in list(self._running):
            if job.member in gone:
                yield from self._failed(job, "the worker died")
            elif job.member is not None and self._crew.silent(job.member):
                yield from self._failed(job, "the worker hangs: it gives no sign of life")

    def _failed(self, job: _Job, why: str) -> Iterator[Record]:
        member = job.member
        assert member is not None
        self._cluster.forget(job.key)
        job.failed_on.append(member.address)
        again = bool(job.task.again)
        over = again or len(job.failed_on) >= ATTEMPTS
        then = "stay as they were" if again else "are given up" if over else "go to another"
        self._watcher.waiting(f"{member.name}: {why}; its cases {then}")
        if over and not again:
            missing = [c for c in job.task.cases if c.key not in self._kept]
            for case in missing:
                yield from self._keep(job, job.task.attempt, self._error(job, member, case, why))
        self._free(job, over=over)
        if not over:
            job.task = replace(job.task, attempt=job.task.attempt + 1)
            self._waiting.insert(0, job)

    def _error(self, job: _Job, member: Member, case: Case, why: str) -> Record:
        task = job.task
        return Record(
            case=case,
            status="error",
            message=f"{why}; so did {ATTEMPTS} workers one after the other",
            started=datetime.now(UTC).isoformat("T", "seconds"),
            machine=member.greeting.machine,
            run={
                "id": task.run, "seed": task.seed, "attempt": task.attempt,
                "host": short(member.host), "position": task.positions[task.cases.index(case)],
                "rounds": 0,
            },
        )  # fmt: skip

    def _free(self, job: _Job, *, over: bool) -> None:
        assert job.member is not None
        self._watcher.idle(job.member.name)
        self._running.remove(job)
        job.member, job.over = None, over

    def _place(self) -> None:
        """Give every host that measures nothing a contest."""
        for member in list(self._crew.members.values()):
            if self._crew.silent(member) or any(job.member is member for job in self._running):
                continue
            fitting = [job for job in self._waiting if self._fits(job, member)]
            if not fitting:
                continue
            job = min(fitting, key=lambda job: self._rank(job, member))
            self._waiting.remove(job)
            self._running.append(job)
            job.member = member
            self._last_numbers[member.address] = job.numbers
            self._watcher.under_way_on(member.name, job.task.cases[0])
            self._cluster.work(job.key, member.address, to_json(job.task))

    def _fits(self, job: _Job, member: Member) -> bool:
        case = job.task.cases[0]
        crew = self._crew.members.values()
        if job.host not in (None, short(member.host)):
            return False
        if not member.has(case) and any(other.has(case) for other in crew):
            return False  # where nobody has the device, anybody may say so
        if member.address in job.failed_on and any(
            other.address not in job.failed_on and other.has(case) for other in crew
        ):
            return False
        neighbours = [j for j in self._running if j.member and j.member.host == member.host]
        if not self._together or case.device == "cpu":
            return not neighbours
        device = member.greeting.devices.get(case.device)
        return all(
            j.task.cases[0].device != "cpu"
            and j.member is not None
            and j.member.greeting.devices.get(j.task.cases[0].device) != device
            for j in neighbours
        )

    def _leave_absent(self) -> None:
        """Wait for no host that has gone: nobody else can go on with what it had."""
        here = {None, *(short(member.host) for member in self._crew.members.values())}
        self._waiting = [job for job in self._waiting if job.host in here]

    def _rank(self, job: _Job, member: Member) -> tuple[bool, bool]:
        """Best a contest whose numbers the worker has; last one whose numbers another one has."""
        own = self._last_numbers.get(member.address)
        return job.numbers != own, job.numbers in self._last_numbers.values()

    def _check_somebody_is_there(self) -> None:
        if self._crew.members:
            self._alone_since = None
            return
        now = time.monotonic()
        if self._alone_since is None:
            self._alone_since = now
            self._watcher.waiting(f"no worker is left: waiting {self._timeout_s:g} s for another")
        if now - self._alone_since > self._timeout_s:
            raise ClusterError(
                f"the cluster has had no worker for {self._timeout_s:g} s (--timeout)"
            )

"""Where a run measures: this machine, or the workers of a cluster."""

from __future__ import annotations

import uuid
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from rich.console import Console

from sparsebench.cases.case import Case
from sparsebench.cases.settings import Settings
from sparsebench.cluster.connection import DaskCluster, connected
from sparsebench.cluster.crew import Crew
from sparsebench.cluster.dispatcher import Dispatcher
from sparsebench.cluster.target import Target
from sparsebench.errors import InputError
from sparsebench.measuring import hostlock, isolation, machine, runner
from sparsebench.measuring.description import described, fingerprint
from sparsebench.measuring.estimate import Estimator
from sparsebench.measuring.progress import Display, MachinesDisplay
from sparsebench.measuring.refusals import refusal
from sparsebench.measuring.roofline import roofline
from sparsebench.output import console as output
from sparsebench.records import Record, Store, software
from sparselayers import accelerator

_PASS_S = 60.0  # after which the next pass is of processes that lie in memory otherwise
_QUIET = 0.2  # the fraction of all CPUs that others may take without disturbing


@dataclass(frozen=True)
class Work:
    """Cases to be measured into `store`, none begun after `deadline` (of `time.monotonic`).

    `earlier` are all records that its folder has had. Of `again` are those that had rounds before.
    """

    cases: list[Case]
    store: Store
    settings: Settings
    earlier: list[Record]
    deadline: float | None = None
    again: Mapping[Case, runner.Again] = field(default_factory=dict)


class Place(ABC):
    """Where cases are measured, by default on `threads` CPU threads; `talk` shows progress.

    `in_passes`: a round of all cases comes before the next one. Without it the rounds of a contest
    follow each other, for nothing says that the same machine would measure the next.
    """

    in_passes = True

    def __init__(self, threads: int, talk: Console) -> None:
        self.threads, self._talk = threads, talk

    def devices(self, asked: Sequence[str] | None) -> Sequence[str]:
        """Return `asked`, or what is measured by default; InputError for one that is not there."""
        for device in asked or []:
            self._check(device)
        return asked or self._default_devices()

    def refusal(self, cases: Sequence[Case]) -> str | None:
        """Say why none of `cases` can be measured; None where some can, or each is to say so."""
        del cases
        return None

    @abstractmethod
    def knows(self, record: Record) -> bool:
        """Return whether `record` was measured here."""

    @abstractmethod
    def differs(self, record: Record) -> list[str]:
        """Say in which software `record`, that was measured here, differs from what is here now."""

    @abstractmethod
    def pending(
        self, cases: list[Case], known: dict[Case, Record], retry_failed: bool
    ) -> list[Case]:
        """Return which of `cases` are to be measured, with what is known of them."""

    @abstractmethod
    def measure(self, work: Work) -> int:
        """Measure under a progress bar; return how many cases."""

    @abstractmethod
    def _check(self, device: str) -> None: ...

    @abstractmethod
    def _default_devices(self) -> Sequence[str]: ...


class Here(Place):
    """This machine."""

    def __init__(self, talk: Console = output) -> None:
        super().__init__(machine.default_threads(), talk)

    def refusal(self, cases: Sequence[Case]) -> str | None:
        """Say why no device of `cases` can be used."""
        reasons = [accelerator.problem(device) for device in {case.device for case in cases}]
        return reasons[0] if all(reasons) else None

    def knows(self, record: Record) -> bool:
        """Tell by the hardware."""
        return bool(record.machine.get("id") == machine.fingerprint()["id"])

    def differs(self, record: Record) -> list[str]:
        """Compare with this process."""
        return software.differences(record.software, fingerprint(record.case)["software"])

    def pending(
        self, cases: list[Case], known: dict[Case, Record], retry_failed: bool
    ) -> list[Case]:
        """Return those without a record; and what was refused, once it can be measured."""
        return [case for case in cases if _to_measure(known.get(case), retry_failed)]

    def measure(self, work: Work) -> int:
        """Measure one after the other, alone on this machine."""
        cases = work.cases
        isolation.renew(_PASS_S)
        if cases and (busy := machine.busy()) > _QUIET:
            warnings.warn(
                f"other programs take {busy:.0%} of the CPU: times will be wrong", stacklevel=1
            )
        with Display(self._talk, cases, Estimator(work.settings, work.earlier)) as display:

            def alone(_: Case | None = None) -> AbstractContextManager[None]:
                return hostlock.measuring(waiting=display.waiting)

            with alone():  # at the start, not between the sides of a ratio
                for conditions in sorted({(c.device, c.dtype, c.threads) for c in cases}):
                    roofline(*conditions)
            for record in runner.run(
                cases, work.store, work.settings, machine=described,
                under_way=display.under_way, deadline=work.deadline, hold=alone, again=work.again,
                loops=runner.loops(r for r in work.earlier if self.knows(r)),
            ):  # fmt: skip
                display.done(record)
        return display.count

    def _check(self, device: str) -> None:
        machine.check_device(device)

    def _default_devices(self) -> Sequence[str]:
        return machine.devices()


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How a cluster is used: seconds to wait, what is put up with, where progress is shown."""

    timeout_s: float = 30.0
    allow_mixed: bool = False
    together: bool = False
    talk: Console = output


@contextmanager
def there(target: Target, terms: Terms) -> Iterator[There]:
    """Connect to a cluster and wait for its workers; raises ClusterError where they cannot be had.

    On leaving, what is under way is ended.
    """
    topic = f"sparsebench-{uuid.uuid4().hex}"
    with connected(target, topic, terms.timeout_s) as cluster:

        def say(message: str) -> None:
            terms.talk.print(message, highlight=False, markup=False, soft_wrap=True)

        crew = Crew(cluster, allow_mixed=terms.allow_mixed, told=say)
        crew.gather(terms.timeout_s)
        yield There(cluster, crew, terms)


class There(Place):
    """The workers of a cluster."""

    in_passes = False  # the next one would be another machine's

    def __init__(self, cluster: DaskCluster, crew: Crew, terms: Terms) -> None:
        super().__init__(crew.threads, terms.talk)
        self._cluster, self._crew, self._terms = cluster, crew, terms
        self._sent = 0  # contests, at most

    def knows(self, record: Record) -> bool:
        """Tell by what a cluster notes of its hosts, or by the hardware of one of them."""
        return "host" in record.run or record.machine.get("id") in self._crew.machines

    def differs(self, record: Record) -> list[str]:
        """Compare with what the machine's worker greeted with: what all implementations share."""
        there = self._crew.machines.get(str(record.machine.get("id")))
        if there is None:
            return []
        mine = {**record.software, software.OWN: ""}
        return software.differences(mine, software.of(there))

    def pending(
        self, cases: list[Case], known: dict[Case, Record], retry_failed: bool
    ) -> list[Case]:
        """Return the cases of every contest that lacks a record.

        Whole contests: both sides of a ratio have to come from one machine.
        """
        lacking = {
            case.contest
            for case in cases
            if case not in known or (retry_failed and _failed(known[case]))
        }
        return [case for case in cases if case.contest in lacking]

    def measure(self, work: Work) -> int:
        """Measure on all workers at once."""
        asked, estimate = set(work.cases), Estimator(work.settings, work.earlier)
        first, self._sent = self._sent, self._sent + len(work.cases)
        with MachinesDisplay(self._talk, work.cases, estimate) as display:
            self._crew.told = display.waiting
            dispatcher = Dispatcher(
                self._cluster, self._crew, work.store, work.settings, display,
                together=self._terms.together, timeout_s=self._terms.timeout_s,
                earlier=[r for r in work.earlier if r.case in asked and self.knows(r)],
                first=first,
            )  # fmt: skip
            for record in dispatcher.run(work.cases, work.deadline, work.again):
                display.done(record)
        return display.count

    def _check(self, device: str) -> None:
        if device not in self._crew.devices:
            raise InputError(
                f"--device {device}: no worker has it: choose from {', '.join(self._crew.devices)}"
            )

    def _default_devices(self) -> Sequence[str]:
        return [device for device in self._crew.devices if ":" not in device]


def _to_measure(record: Record | None, retry_failed: bool) -> bool:
    if record is None or (retry_failed and _failed(record)):
        return True
    # What was refused is measured once it can be: after an installation, or with more memory.
    return record.status == "unsupported" and refusal(record.case) is None


def _failed(record: Record) -> bool:
    """Return whether there is no time that could decide anything."""
    return record.status != "ok" or bool(record.disturbed)

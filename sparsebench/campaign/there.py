"""The workers of a cluster as a place to measure."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console

from sparsebench.campaign.place import Place, Work, failed
from sparsebench.cases.case import Case
from sparsebench.cluster.connection import DaskCluster, connected
from sparsebench.cluster.crew import Crew
from sparsebench.cluster.dispatcher import Dispatcher
from sparsebench.cluster.target import Target
from sparsebench.errors import InputError
from sparsebench.measuring.estimate import Estimator
from sparsebench.measuring.progress import MachinesDisplay
from sparsebench.output import console as output
from sparsebench.records import Record, software


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
            if case not in known or (retry_failed and failed(known[case]))
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

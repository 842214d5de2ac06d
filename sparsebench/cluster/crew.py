"""The workers that may measure: who is there, what they are, whether they still live."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sparsebench.cases.case import Case
from sparsebench.cluster import versions
from sparsebench.cluster.connection import Cluster, Ended
from sparsebench.cluster.messages import Greeting, Told, from_json
from sparsebench.errors import ClusterError

SILENT_S = 30.0  # a worker that gave no sign of life for so long hangs
_LOOK_S = 0.5  # how often the scheduler is asked who is there
_TICK_S = 0.1


@dataclass(eq=False)
class Member:
    """A worker that greeted: `seen` is when its last sign of life came, by our clock."""

    address: str
    name: str
    greeting: Greeting
    last_seen: float = 0.0
    seen: float = field(default_factory=time.monotonic)

    @property
    def host(self) -> str:
        """The machine it is on."""
        return self.greeting.host

    def has(self, case: Case) -> bool:
        """Return whether the device of `case` is there."""
        return case.device in self.greeting.devices


class Crew:
    """All workers that measure alike. The others, and those that come later, are refused.

    `told` is told, in words, what changes; `silent_s` is how long a worker may give no sign.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        allow_mixed: bool = False,
        silent_s: float = SILENT_S,
        told: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.members: dict[str, Member] = {}
        self.told = told
        self._cluster, self._allow_mixed, self._silent_s = cluster, allow_mixed, silent_s
        self._asked: dict[str, str] = {}  # addresses of who has not greeted yet, and their names
        self._refused: set[str] = set()
        self._why = ""  # the last one was refused
        self._agreed: Mapping[str, str] = {}  # the versions that late ones have to have
        self._looked = float("-inf")

    def gather(self, timeout_s: float) -> None:
        """Wait for workers, and for the greetings of all that are there.

        Raises ClusterError where there is none within `timeout_s`, where one does not greet, or
        where they do not agree with each other and with this process in what measures.
        """
        end, told = time.monotonic() + timeout_s, False
        while not self.members or self._asked:
            self.look()
            if self._refused and not self._asked and not self.members:
                raise ClusterError(f"no worker can measure: {self._why}")
            if time.monotonic() > end and self.members:
                break  # who has not greeted by now may do so later
            if time.monotonic() > end:
                raise ClusterError(self._nobody(timeout_s))
            if not told and not self._asked:
                self.told(f"the cluster has no workers: waiting {timeout_s:g} s for the first")
                told = True
            with suppress(queue.Empty):
                message = self._cluster.inbox.get(timeout=_TICK_S)
                if isinstance(message, Ended):
                    self.greeted(message)
        if not self._allow_mixed:
            self._refuse_mixture()

    def look(self) -> list[Member]:
        """Ask the scheduler who is there, now and then; return those that have gone since."""
        if time.monotonic() - self._looked < _LOOK_S:
            return []
        before, self._looked = self._looked, time.monotonic()
        there = self._cluster.workers()
        asleep = self._looked - before > self._silent_s / 2  # this side was, and saw no signs
        for address, worker in there.items():
            if address not in (self.members.keys() | self._asked.keys() | self._refused):
                self._asked[address] = worker.name
                self._cluster.greet(f"greet {address}", address)
        gone = [member for address, member in self.members.items() if address not in there]
        for member in gone:
            del self.members[member.address]
        for address in self._asked.keys() - there.keys():
            self._cluster.forget(f"greet {address}")
            del self._asked[address]
        for address, member in self.members.items():
            if asleep or there[address].last_seen != member.last_seen:
                member.last_seen, member.seen = there[address].last_seen, time.monotonic()
        return gone

    def silent(self, member: Member) -> bool:
        """Return whether `member` hangs, by all that can be seen."""
        return time.monotonic() - member.seen > self._silent_s

    def greeted(self, ended: Ended) -> None:
        """Take in the answer to a greeting: a new member, or one that is refused."""
        address = ended.key.removeprefix("greet ")
        name = self._asked.pop(address, None)
        if name is None:
            return
        if ended.error:
            self._refuse(address, f"{name} cannot measure: {ended.error}")
            return
        greeting = from_json(Told, ended.answer).greeting
        assert greeting is not None
        both = {"the others": self._agreed, name: greeting.versions}
        if self._agreed and (table := versions.disagreement(both)):
            self._refuse(address, f"{name} came late and is left out; it differs:\n{table}")
            return
        self.members[address] = Member(address, name, greeting)

    @property
    def devices(self) -> list[str]:
        """Every device that a worker has."""
        return sorted({name for m in self.members.values() for name in m.greeting.devices})

    @property
    def threads(self) -> int:
        """The least number of threads that PyTorch would use on a worker."""
        return min(member.greeting.threads for member in self.members.values())

    @property
    def machines(self) -> dict[str, Mapping[str, Any]]:
        """The fingerprints of the machines, by their identities as records have them."""
        return {str(m.greeting.machine["id"]): m.greeting.machine for m in self.members.values()}

    def _refuse(self, address: str, why: str) -> None:
        self._refused.add(address)
        self._why = why
        self.told(why)

    def _refuse_mixture(self) -> None:
        found = {member.name: member.greeting.versions for member in self.members.values()}
        # All that this side has to have in common with the workers is the program itself.
        here = {"this side": {"sparsebench": versions.here()["sparsebench"]}}
        if table := versions.disagreement(found | here):
            raise ClusterError(
                f"there are different versions of what measures:\n{table}\n"
                "install the same everywhere, or accept the difference with --allow-mixed"
            )
        self._agreed = next(iter(found.values()))

    def _nobody(self, timeout_s: float) -> str:
        if self._asked:
            return (
                f"no worker answered within {timeout_s:g} s (--timeout); they may be busy: "
                f"{', '.join(self._asked.values())}"
            )
        return f"the cluster had no workers for {timeout_s:g} s (--timeout)"

"""Where cases are measured, and what is to be measured there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console

from sparsebench.cases.case import Case
from sparsebench.cases.settings import Settings
from sparsebench.measuring import runner
from sparsebench.records import Record, Store


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

    def known(
        self, cases: Sequence[Case], earlier: Sequence[Record]
    ) -> tuple[dict[Case, Record], dict[Case, Record]]:
        """Return the last of `earlier` for each of `cases`: of the software here, and of other."""
        asked = set(cases)
        here = [record for record in earlier if record.case in asked and self.knows(record)]
        current = {record.case: record for record in here if not self.differs(record)}
        return current, {record.case: record for record in here if record.case not in current}

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


def failed(record: Record) -> bool:
    """Return whether there is no time that could decide anything."""
    return record.status != "ok" or bool(record.disturbed)

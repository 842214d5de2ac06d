"""This machine as a place to measure."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager

from rich.console import Console

from sparsebench.campaign.place import Place, Work, failed
from sparsebench.cases.case import Case
from sparsebench.measuring import hostlock, isolation, machine, runner
from sparsebench.measuring.description import described, fingerprint
from sparsebench.measuring.estimate import Estimator
from sparsebench.measuring.progress import Display
from sparsebench.measuring.refusals import refusal
from sparsebench.measuring.roofline import roofline
from sparsebench.output import console as output
from sparsebench.records import Record, software
from sparselayers import accelerator

_PASS_S = 60.0  # after which the next pass is of processes that lie in memory otherwise
_QUIET = 0.2  # the fraction of all CPUs that others may take without disturbing


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


def _to_measure(record: Record | None, retry_failed: bool) -> bool:
    if record is None or (retry_failed and failed(record)):
        return True
    # What was refused is measured once it can be: after an installation, or with more memory.
    return record.status == "unsupported" and refusal(record.case) is None

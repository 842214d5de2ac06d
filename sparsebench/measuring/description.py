"""What is recorded of the machine with a case: its fingerprint, and the roofline it is under."""

from __future__ import annotations

from typing import Any

from sparsebench.cases.case import Case
from sparsebench.measuring import machine, software
from sparsebench.measuring.roofline import roofline


def described(case: Case) -> dict[str, Any]:
    """Return the fingerprint of this machine with the roofline that `case` is under.

    And, in its software, with the state of the implementation.
    """
    return fingerprint(case) | {"roofline": roofline(case.device, case.dtype, case.threads)}


def fingerprint(case: Case) -> dict[str, Any]:
    """Return the same without the roofline: takes no time."""
    found = machine.fingerprint()
    return found | {"software": software.of(case, found)}

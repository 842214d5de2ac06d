"""What is recorded of the machine with a case: its fingerprint, and the roofline it is under."""

from __future__ import annotations

from typing import Any

from sparsebench.cases.case import Case
from sparsebench.measuring import machine
from sparsebench.measuring.roofline import roofline


def described(case: Case) -> dict[str, Any]:
    """Return the fingerprint of this machine with the roofline that `case` is under."""
    return machine.fingerprint() | {"roofline": roofline(case.device, case.dtype, case.threads)}

"""What is recorded of the machine with a case: its fingerprint, and the roofline probed once."""

from __future__ import annotations

from functools import cache
from typing import Any

from sparsebench.cases.case import Case
from sparsebench.measuring import isolation, machine


def described(case: Case) -> dict[str, Any]:
    """Return the fingerprint of this machine with the roofline that `case` is under."""
    return machine.fingerprint() | {"roofline": roofline(case.device, case.dtype, case.threads)}


@cache
def roofline(device: str, dtype: str, threads: int) -> dict[str, Any]:
    """Probe the roofline in a process of its own, the first time; `failed` says why it did."""
    try:
        answer: dict[str, Any] = isolation.call(machine.probe, device, dtype, threads, timeout_s=60)
    except isolation.Failure as failure:
        return {"failed": str(failure)}
    return answer

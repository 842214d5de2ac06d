"""Why a case is not measured here: what is missing, unsupported or too large."""

from __future__ import annotations

from sparsebench.cases.case import Case
from sparsebench.cases.topologies import TOPOLOGIES
from sparsebench.implementations import IMPLEMENTATIONS
from sparsebench.measuring import allocator, memory
from sparselayers import accelerator


def refusal(case: Case) -> str | None:
    """Say why `case` cannot be measured on this machine now, or None; allocates nothing."""
    implementation = IMPLEMENTATIONS[case.implementation]
    if reason := implementation.unavailable() or implementation.unsupported(case):
        return reason
    if case.topology in TOPOLOGIES and (reason := TOPOLOGIES[case.topology].missing):
        return f"topology {case.topology}: {reason}"
    if reason := accelerator.problem(case.device):
        return reason
    if case.gradients == "kept" and not allocator.can_keep():
        return "gradients = kept: this C library cannot be told to keep what is freed (glibc can)"
    needed, free = implementation.bytes_needed(case), memory.available(case.device)
    if needed > free:
        return f"needs about {needed / 1e9:.3g} GB of {case.device} memory, {free / 1e9:.3g} free"
    return None

"""The software that a time belongs to, as its record tells.

`torch`, `allocator`, `threads` (what tells the threads how to wait, and where) and `method` (how
times are taken) are shared by both sides of a ratio. `implementation` is the competitor's own: its
code here, the releases of its libraries, its kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHARED = ("torch", "allocator", "threads", "method")
OWN = "implementation"


def of(machine: Mapping[str, Any]) -> dict[str, str]:
    """Return the software by name that the fingerprint in a record tells of.

    Of records that were written before they said so, what follows from the rest of it.
    """
    if told := machine.get("software"):
        return {name: str(value) for name, value in told.items()}
    torch = machine.get("torch")
    if not torch:
        return {}
    return {
        "torch": f"{torch.get('version', '')} {torch.get('blas', '')}".strip(),
        "allocator": allocator(str(machine.get("malloc") or ""), str(machine.get("huge_pages"))),
    }


def allocator(malloc: str, huge_pages: str) -> str:
    """Return in words what memory is allocated by."""
    return f"{malloc or 'as the C library has it'}, huge pages: {huge_pages or 'unknown'}"


def shared(software: Mapping[str, str]) -> tuple[str, ...]:
    """Return what both sides of a ratio have to have in common."""
    return tuple([software.get(name, "") for name in SHARED])


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return in words what differs: "torch 2.13 mkl → 2.14 mkl"."""
    return [
        f"{name} {old.get(name) or 'unknown'} → {new.get(name) or 'unknown'}"
        for name in (*SHARED, OWN)
        if old.get(name, "") != new.get(name, "")
    ]

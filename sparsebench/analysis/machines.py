"""What machines are called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from sparsebench.cases.case import Case


def identity(machine: Mapping[str, Any]) -> str:
    """Return what tells a machine from all others, as its fingerprint says."""
    return str(machine.get("id", ""))


def machine_names(machines: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return a name for each machine by its identity, with as much of it as tells them apart."""
    models = {}
    for machine in machines:
        cpu, gpus = machine.get("cpu", {}), machine.get("gpus", [])
        parts = [str(cpu.get("model", "this machine")), *(str(gpu["name"]) for gpu in gpus)]
        models[identity(machine)] = " + ".join(map(_plain, parts))
    same = Counter(models.values())
    return {
        which: f"{name} ({which})" if same[name] > 1 else name for which, name in models.items()
    }


def place(case: Case, machine: str) -> str:
    """Return in words what computes: the machine, and its device, or how many of its threads."""
    threads = "1 thread" if case.threads == 1 else f"{case.threads} threads"
    return f"{machine}, {case.device if case.device != 'cpu' else threads}"


def _plain(model: str) -> str:
    """Return a processor's name without what its maker adds: Intel(R) Xeon(R) … -> Intel Xeon."""
    return " ".join(re.sub(r"\((R|TM|r|tm)\)|\b(CPU|Processor)\b|@.*", "", model).split())

"""The machines and the software that records come from, as the page lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparsebench.analysis.machines import machine_names
from sparsebench.records import Record
from sparsebench.views import units
from sparsebench.views.page.chapter import Chapter


@dataclass(frozen=True)
class Machine:
    """A machine's name, and its facts as (what, value)."""

    name: str
    facts: Sequence[tuple[str, str]]


def machines(chapters: Iterable[Chapter]) -> list[Machine]:
    """Return every machine once, with the newest software it was seen with."""
    found: dict[str, Record] = {}
    for record in (point.record for chapter in chapters for point in chapter.points):
        known = found.setdefault(str(record.machine.get("id", "")), record)
        if record.started > known.started:
            found[str(record.machine.get("id", ""))] = record
    names = machine_names(record.machine for record in found.values())
    return sorted(
        (Machine(names[identity], list(_facts(r.machine))) for identity, r in found.items()),
        key=lambda machine: machine.name,
    )


def _facts(machine: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    cpu, torch = machine.get("cpu", {}), machine.get("torch", {})
    yield "CPU", str(cpu.get("model", "unknown"))
    for what in ("cores", "physical_cores", "logical_cores", "isa", "caches"):
        if what in cpu:
            yield what.replace("_", " "), _words(cpu[what])
    if "memory_gib" in machine:
        yield "memory", f"{machine['memory_gib']} GiB"
    yield "GPUs", _words([gpu.get("name", gpu) for gpu in machine.get("gpus", [])]) or "none"
    for what in ("os", "huge_pages", "malloc", "python"):
        if what in machine:
            yield what.replace("_", " "), str(machine[what])
    yield "PyTorch", _words(torch)
    for what in ("sparsebench", "layers"):
        if what in machine:
            yield what, _words(machine[what])
    roof = machine.get("roofline", {})
    if "matmul_gflops" in roof:
        yield "matmul probe", units.quantity(1e9 * roof["matmul_gflops"], "FLOP/s")
        yield "memory probe", units.quantity(1e9 * roof["stream_gb_s"], "B/s")
    yield "identity", str(machine.get("id", ""))


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_words(v)}" for k, v in value.items() if v is not None)
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return str(value)

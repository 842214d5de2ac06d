"""Trip wires: ratios of ours to others that hold on any machine, or something is badly wrong.

They are coarse on purpose: a limit is a multiple of what was measured when it was set. A wire that
is touched is measured twice more, in fresh processes, before it counts.
"""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from sparsebench.errors import InputError
from sparsebench.regression import yardstick
from sparsebench.regression.results import Measure, WireFinding

FILE = Path("benchmarks") / "trip-wires.toml"
CHECKOUT = Path(__file__).parents[2]
# What a ratio may become before a wire is tripped. Times vary with the machine: training a layer of
# 2048 × 2048 at 90%, batch 1, takes 0.23 of dense's time on one of those in results/reference and
# 0.55 on another. Bytes hardly do.
SLACK: dict[Measure, float] = {"time": 4.0, "memory": 1.5}

# How often a wire that was touched is measured again before it counts as tripped.
RETRIES = 2

_HEAD = """\
# Ratios of ours to others that `sparsebench check --trip-wires` holds against a machine: the time
# or the peak memory of a workload of sparsebench/regression/yardstick.py, ours over `against`. A
# wire is tripped above `limit`, which is {time:g} times (memory: {memory:g} times) what was
# `measured` when it was set. Written by
#     sparsebench check --update-trip-wires --because "what changed, and why that is right"
# which measures every wire again and adds what it says to the changes below.
"""

# Measures workloads once with their rivals, in a fresh process: what yardstick.run returns.
Probe = Callable[[Sequence[str]], Mapping[str, Any]]


@dataclass(frozen=True)
class Wire:
    """Ours over `against` in a workload: what it was when the wire was set, and its limit."""

    workload: str
    measure: Measure
    against: str
    measured: float
    limit: float


@dataclass(frozen=True)
class Change:
    """When the wires were set, at which commit, on which processor, and why."""

    date: str
    commit: str
    cpu: str
    because: str


@dataclass(frozen=True)
class WireFile:
    """What the file holds."""

    changes: tuple[Change, ...]
    wires: tuple[Wire, ...]


def file(*, shipped: bool = True) -> Path:
    """Return the file: that of the folder one is in, of one above it, else (`shipped`) our own."""
    here = Path.cwd()
    if (own := next((p for p in (here, *here.parents) if (p / FILE).exists()), None)) is not None:
        return FILE if own == here else own / FILE
    return CHECKOUT / FILE if shipped and (CHECKOUT / FILE).exists() else FILE


def load(path: Path) -> WireFile:
    """Read the file of the wires. Raises InputError that names what is wrong in it."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; make it with: sparsebench check --update-trip-wires "
            "--because 'the first ones'"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: {error}") from None
    try:
        changes = tuple(Change(**entry) for entry in content.get("change", []))
        wires = tuple(Wire(**entry) for entry in content.get("wire", []))
    except TypeError as error:
        raise InputError(f"{path}: {error}") from None
    for wire in wires:
        _check(wire, path)
    if not wires:
        raise InputError(f"{path}: holds no [[wire]]")
    return WireFile(changes, wires)


def judged(wires: Sequence[Wire], probe: Probe) -> list[WireFinding]:
    """Measure every wire once, those that were touched twice more, and say which were tripped."""
    answer = probe(list(dict.fromkeys(wire.workload for wire in wires)))
    findings = [_finding(wire, answer, again=False) for wire in wires]
    for _ in range(RETRIES):
        touched = [found.workload for found in findings if not found.held]
        if not touched:
            break
        answer = probe(list(dict.fromkeys(touched)))
        findings = [
            found if found.held else _finding(wire, answer, again=True)
            for wire, found in zip(wires, findings, strict=True)
        ]
    return findings


def measured(answers: Iterable[Mapping[str, Any]]) -> tuple[Wire, ...]:
    """Return wires for every ratio in what several processes measured, at the median of them."""
    ratios: dict[tuple[str, Measure, str], list[float]] = {}
    for answer in answers:
        for measure, what in (("time", "times"), ("memory", "memory")):
            for name, values in answer[what].items():
                for rival in values:
                    if rival != yardstick.OURS:
                        key = (name, measure, rival)
                        ratios.setdefault(key, []).append(values[yardstick.OURS] / values[rival])  # type: ignore[arg-type]
    return tuple(
        Wire(name, measure, rival, _two(middle), _two(SLACK[measure] * middle))
        for (name, measure, rival), values in ratios.items()
        for middle in [statistics.median(values)]
    )


def write(path: Path, file: WireFile) -> None:
    """Write the file of the wires."""
    parts = [_HEAD.format(**SLACK)]
    parts += [_table("change", vars(change)) for change in file.changes]
    parts += [_table("wire", vars(wire)) for wire in file.wires]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts), encoding="utf-8")


def explained(old: Sequence[Wire], new: Sequence[Wire]) -> list[tuple[Wire | None, Wire | None]]:
    """Pair the wires of two files; None where one has no such wire."""
    before, after = ({(w.workload, w.measure, w.against): w for w in side} for side in (old, new))
    return [(before.get(key), after.get(key)) for key in dict.fromkeys((*before, *after))]


def _finding(wire: Wire, answer: Mapping[str, Any], *, again: bool) -> WireFinding:
    values = answer["times" if wire.measure == "time" else "memory"].get(wire.workload, {})
    common: dict[str, Any] = {
        "workload": wire.workload, "measure": wire.measure, "against": wire.against,
        "limit": wire.limit, "again": again,
    }  # fmt: skip
    if {yardstick.OURS, wire.against} <= values.keys():
        ratio = values[yardstick.OURS] / values[wire.against]
        return WireFinding(**common, ratio=_three(ratio), held=ratio <= wire.limit)
    message = answer["failed"].get(wire.workload, "")
    if not message and wire.measure == "memory":  # there is no way to take it here
        return WireFinding(**common, ratio=None, held=True, message="not measured here")
    return WireFinding(**common, ratio=None, held=False, message=message or "no time was taken")


def _check(wire: Wire, path: Path) -> None:
    workload = yardstick.WORKLOADS.get(wire.workload)
    if workload is None:
        allowed = ", ".join(yardstick.WORKLOADS)
        raise InputError(f"{path}: unknown workload {wire.workload!r}: choose from {allowed}")
    if wire.measure not in get_args(Measure):
        raise InputError(f"{path}: measure {wire.measure!r}: choose from time, memory")
    if wire.against not in workload.rivals:
        allowed = ", ".join(workload.rivals)
        raise InputError(
            f"{path}: {wire.workload} against {wire.against!r}: choose from {allowed or 'none'}"
        )
    if not wire.limit > 0:
        raise InputError(f"{path}: {wire.workload}: limit = {wire.limit!r}: must be above 0")


def _table(name: str, entries: Mapping[str, object]) -> str:
    lines = [f"[[{name}]]"]
    for key, value in entries.items():
        text = '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"' if (
            isinstance(value, str)
        ) else repr(value)  # fmt: skip
        lines.append(f"{key} = {text}")
    return "\n".join(lines) + "\n"


def _two(value: float) -> float:
    return float(f"{value:.2g}")


def _three(value: float) -> float:
    return float(f"{value:.3g}")

"""How a turn was disturbed: what the system tells of its threads, sample by sample.

The kernel counts, for each thread, how long it stood ready without a core. On a quiet machine that
is some microseconds each time it wakes; a program that wants the same core makes it milliseconds,
and a product that two threads share ends when the later one does. A sample whose threads stood for
more than a twentieth of it is spoiled; a turn without enough others decides nothing. So is one
while the hypervisor gave cores to other machines, whose samples scatter widely, or in which a loop
of constant work took much longer than in the run's other turns.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

SPOILED = 0.05  # of a sample's time, that its threads together stood ready without a core
STOLEN = 0.05  # of the time of all cores, that the hypervisor gave to others
SCATTER = 0.5  # between the quartiles of a turn's samples, over their median
SLOWER = 1.5  # the calibration loop, over that of the quickest quarter of the turns

_WAKE_S = 50e-6  # what it may take a thread to get a core that is free
_FEWEST = 3  # samples that a turn needs, unless it has fewer
_SCATTERED = 4  # samples, from which on quartiles say something

_REST_S = 0.01  # that threads of a product spin at most before they sleep
_LOOP = 2000  # additions of the calibration loop: some 50 µs
_LOOPS = 20
# Between two loops. Where a neighbour has the other half of a core it comes and goes within tens of
# milliseconds: loops one after the other would all meet it, or none of them.
_PAUSE_S = 0.002

_TASKS = Path("/proc/self/task")
_STAT = Path("/proc/stat")
_PRESSURE = Path("/proc/pressure/cpu")
_CPUS = Path("/sys/devices/system/cpu")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Strain:
    """What happened to this process during a sample.

    `cpu` is the CPU time of its threads, `waited` how long they stood ready without a core beyond
    what waking takes, each over the time that passed; `switches` how often one had to leave its
    core. `waited` is None where the system does not tell.
    """

    cpu: float
    waited: float | None
    switches: int

    @property
    def spoiled(self) -> bool:
        """Whether other work had a core that this process wanted."""
        if self.waited is None:
            return self.switches > 1
        return self.waited > SPOILED


class _Counts(NamedTuple):
    cpu: float
    waited: float
    slices: int
    switches: int


class Watch:
    """Reads what the kernel counts of this process's threads: between samples, never within.

    The threads are those that there are when it is made: after a warm-up, all that compute.
    """

    def __init__(self) -> None:
        self._files: list[int] = []
        with suppress(OSError):
            for task in _TASKS.iterdir():
                with suppress(OSError):  # a thread that has just ended
                    self._files.append(os.open(task / "schedstat", os.O_RDONLY | os.O_CLOEXEC))
        self._last = self._read()

    def close(self) -> None:
        """Close the kernel's files."""
        for file in self._files:
            os.close(file)
        self._files = []

    def begin(self) -> None:
        """Count from here."""
        self._last = self._read()

    def end(self, seconds: float) -> Strain:
        """Return what has happened in the `seconds` since `begin`."""
        now, last = self._read(), self._last
        seconds = max(seconds, 1e-9)
        waited = now.waited - last.waited - _WAKE_S * (now.slices - last.slices)
        return Strain(
            cpu=(now.cpu - last.cpu) / seconds,
            waited=max(0.0, waited) / seconds if self._files else None,
            switches=now.switches - last.switches,
        )

    def _read(self) -> _Counts:
        """Read them all: a thread takes some microseconds."""
        waited, slices = 0, 0
        for file in self._files:
            with suppress(OSError):  # of a thread that has ended: it waits for nothing
                fields = os.pread(file, 100, 0).split()
                waited, slices = waited + int(fields[1]), slices + int(fields[2])
        usage = resource.getrusage(resource.RUSAGE_SELF)
        cpu = usage.ru_utime + usage.ru_stime
        return _Counts(cpu, waited * 1e-9, slices, usage.ru_nivcsw)


@dataclass(frozen=True)
class Moment:
    """What is going on around a process, now: see `conditions`."""

    at: float
    load: float
    pressure: float | None  # seconds, since the machine was started, that something lacked a core
    stolen: float | None  # seconds, since then, of all cores, that the hypervisor took
    loop: float  # seconds that constant work takes one thread, over some forty milliseconds

    @classmethod
    def now(cls) -> Moment:
        """Look, and calibrate: some fifty milliseconds, the first for threads that still spin."""
        time.sleep(_REST_S)
        loops = []
        for _ in range(_LOOPS):
            loops.append(_loop())
            time.sleep(_PAUSE_S)
        # Not the longest: one that lost its core to an interrupt says nothing of the others.
        loop = sum(sorted(loops)[:-1]) / (_LOOPS - 1)
        return cls(time.monotonic(), os.getloadavg()[0], _pressure(), _stolen(), loop)


def conditions(before: Moment, after: Moment) -> dict[str, Any]:
    """Return what a record keeps of the surroundings of a turn.

    `load` before it, shares of its time: `pressure` that something on the machine lacked a core,
    `stolen` of all cores that the hypervisor took; `loop_s`, what constant work took one thread
    before and after; `mhz` and `governor` of the cores.
    """
    seconds = max(after.at - before.at, 1e-3)
    found: dict[str, Any] = {
        "load": round(before.load, 2),
        "loop_s": [float(f"{moment.loop:.4g}") for moment in (before, after)],
    }
    if before.pressure is not None and after.pressure is not None:
        found["pressure"] = round((after.pressure - before.pressure) / seconds, 3)
    if before.stolen is not None and after.stolen is not None:
        cores = psutil.cpu_count() or 1
        found["stolen"] = round((after.stolen - before.stolen) / seconds / cores, 3)
    if mhz := _megahertz():
        found["mhz"] = mhz
    if governor := _governor():
        found["governor"] = governor
    return found


def pace(surroundings: Mapping[str, Any]) -> float | None:
    """Return what constant work took around a turn, of its `conditions`; None where none is told.

    The mean: a turn half of which was twice as slow took half as long again.
    """
    loops = surroundings.get("loop_s")
    return sum(loops) / len(loops) if loops else None


def spoiled(strains: Sequence[Strain]) -> list[int]:
    """Return which samples are spoiled, counted from 0."""
    return [place for place, strain in enumerate(strains) if strain.spoiled]


def disturbance(
    samples: Sequence[float], strains: Sequence[Strain], surroundings: dict[str, Any]
) -> str:
    """Say what disturbed a turn so much that its time decides nothing; "" if nothing did."""
    bad = set(spoiled(strains))
    clean = [sample for place, sample in enumerate(samples) if place not in bad]
    if len(clean) < min(_FEWEST, len(samples)):
        return f"other work had a core in {len(bad)} of {len(samples)} samples"
    if (taken := surroundings.get("stolen", 0.0)) > STOLEN:
        return f"the hypervisor took {taken:.0%} of the cores"
    if (wide := scatter(clean)) > SCATTER:
        return f"its samples scatter: half of them by {wide:.0%} of their median"
    return ""


def scatter(samples: Sequence[float]) -> float:
    """Return the distance of the quartiles of samples over their median; 0 for very few."""
    if len(samples) < _SCATTERED:
        return 0.0
    low, middle, high = np.quantile(samples, [0.25, 0.5, 0.75])
    return float((high - low) / middle)


def _loop() -> float:
    """Take the time of constant work that needs no memory."""
    total = 0
    start = time.perf_counter()
    for number in range(_LOOP):
        total += number
    return time.perf_counter() - start


def _pressure() -> float | None:
    """Return the microseconds that Linux counts under "some … total=", in seconds."""
    with suppress(OSError, ValueError, IndexError):
        return int(_PRESSURE.read_text().split("total=")[1].split()[0]) * 1e-6
    return None


def _stolen() -> float | None:
    """Return the eighth count of the line "cpu", in ticks, in seconds."""
    with suppress(OSError, ValueError, IndexError):
        return int(_STAT.read_text().split("\n", 1)[0].split()[8]) / _TICKS
    return None


def _megahertz() -> int | None:
    with suppress(Exception):  # psutil knows many systems, and fails in as many ways
        if found := psutil.cpu_freq():
            return round(found.current)
    return None


def _governor() -> str:
    governors = set()
    with suppress(OSError):
        for path in _CPUS.glob("cpu[0-9]*/cpufreq/scaling_governor"):
            governors.add(path.read_text().strip())
    return ", ".join(sorted(governors))

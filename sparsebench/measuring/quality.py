"""How a turn was disturbed: what the system tells of its threads, sample by sample.

A sample is spoiled where threads stood ready without a core (`sparselayers.cores`) for more than a
twentieth of it, unless they waited for each other: a library that has threads beside PyTorch's may
want more cores than there are. A turn without enough others decides nothing. Nor does one while the
hypervisor gave cores to other machines, whose samples scatter widely, or in which a loop of
constant work took much longer than in the run's other turns.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from sparsebench.measuring.machine import usable_threads
from sparselayers.cores import Strain

STOLEN = 0.05  # of the time of all cores, that the hypervisor gave to others
SCATTER = 0.5  # between the quartiles of a turn's samples, over their median
SLOWER = 1.5  # the calibration loop, over that of the quickest quarter of the turns

HAD = 0.9  # of all cores, that a process had which waited for none but its own threads

_FEWEST = 3  # samples that a turn needs, unless it has fewer
_SCATTERED = 4  # samples, from which on quartiles say something

_REST_S = 0.01  # that threads of a product spin at most before they sleep
_LOOP = 2000  # additions of the calibration loop: some 50 µs
_LOOPS = 20
# Between two loops. Where a neighbour has the other half of a core it comes and goes within tens of
# milliseconds: loops one after the other would all meet it, or none of them.
_PAUSE_S = 0.002

_STAT = Path("/proc/stat")
_PRESSURE = Path("/proc/pressure/cpu")
_CPUS = Path("/sys/devices/system/cpu")
_TICKS = os.sysconf("SC_CLK_TCK")


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
    bad = [place for place, strain in enumerate(strains) if strain.spoiled]
    return [] if _waited_for_each_other([strains[place] for place in bad]) else bad


def _waited_for_each_other(strains: Sequence[Strain]) -> bool:
    """Return whether more threads computed than there are cores, and had them all together."""
    if not strains:
        return False
    usable = usable_threads()
    computing = statistics.median(strain.computing for strain in strains)
    return computing > usable and statistics.fmean(s.cpu for s in strains) >= HAD * usable


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

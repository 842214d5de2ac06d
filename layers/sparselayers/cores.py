"""Had other work the cores that this process wanted, while a time was taken?

The kernel counts, for each thread, how long it stood ready without a core. On a quiet machine that
is some microseconds each time it wakes; a program that wants the same core makes it milliseconds,
and a product that two threads share ends when the later one does. That need not show in how samples
scatter: where the other program never rests, all of them take as long.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

with suppress(ImportError):  # not on Windows
    import resource

SPOILED = 0.05  # of a sample's time, that its threads together stood ready without a core

COMPUTING = 0.1  # of a sample's time, from which on a thread computed

_WAKE_S = 50e-6  # what it may take a thread to get a core that is free
_TASKS = Path("/proc/self/task")


@dataclass(frozen=True)
class Strain:
    """What happened to this process during a sample.

    `cpu` is the CPU time of its threads, `waited` how long they stood ready without a core beyond
    what waking takes, each over the time that passed; `switches` how often one had to leave its
    core; `computing`, how many threads had a core for a tenth of the time. `waited` is None where
    the system does not tell.
    """

    cpu: float
    waited: float | None
    switches: int
    computing: int = 0

    @property
    def spoiled(self) -> bool:
        """Whether other work had a core that this process wanted."""
        if self.waited is None:
            return self.switches > 1
        return self.waited > SPOILED


class Counts(NamedTuple):
    """What the kernel has counted so far: seconds, how often a thread got a core, and lost it."""

    cpu: float
    waited: float
    slices: int
    switches: int
    each: tuple[int, ...] = ()  # nanoseconds that each thread had a core


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
        ran = [1e-9 * (end - begin) for begin, end in zip(last.each, now.each, strict=True)]
        return Strain(
            cpu=(now.cpu - last.cpu) / seconds,
            waited=max(0.0, waited) / seconds if self._files else None,
            switches=now.switches - last.switches,
            computing=sum(one > COMPUTING * seconds for one in ran),
        )

    def _read(self) -> Counts:
        """Read them all: a thread takes some microseconds."""
        waited, slices, each = 0, 0, [0] * len(self._files)
        for place, file in enumerate(self._files):
            with suppress(OSError):  # of a thread that has ended: it waits for nothing
                fields = os.pread(file, 100, 0).split()
                waited, slices = waited + int(fields[1]), slices + int(fields[2])
                each[place] = int(fields[0])
        return Counts(time.process_time(), waited * 1e-9, slices, cores_left(), tuple(each))


def cores_left() -> int:
    """Return how often threads of this process had to leave their cores to others; 0 if unknown."""
    with suppress(NameError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    return 0

"""The process beside a Dask worker that measures. Reads tasks line by line, answers in lines.

It is a process of its own because a worker of Dask may be one that may have no children, and to
leave the worker free to answer its scheduler. It ends with the worker, and after a while without
work.
"""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import psutil
import torch

from sparsebench.cases.case import Case
from sparsebench.cases.settings import Settings
from sparsebench.cluster import versions
from sparsebench.cluster.messages import GREET, Greeting, Task, Told, from_json, short, to_json
from sparsebench.measuring import hostlock, isolation, machine
from sparsebench.measuring.description import described
from sparsebench.measuring.runner import Bench, Pace

IDLE_S = 120.0  # without work for so long, it frees its memory by ending
ALIVE_S = 2.0


def serve() -> None:
    """Answer the lines of stdin on stdout until stdin ends."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what anything prints must not come between the answers
    folder = Path(tempfile.mkdtemp(prefix="sparsebench-"))
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(lines, folder), daemon=True).start()
    agent = _Agent(channel, folder / "numbers")
    threading.Thread(target=agent.live, daemon=True).start()
    try:
        while True:
            agent.answer(lines.get(timeout=IDLE_S))
    except queue.Empty:
        pass
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read(lines: queue.Queue[str], folder: Path) -> None:
    """Pass lines on; when the worker is gone, leave at once: nobody waits for a measurement."""
    for line in sys.stdin:
        lines.put(line.strip())
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()  # before the numbers go that it reads
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


class _Agent:
    def __init__(self, channel: TextIO, scratch: Path) -> None:
        self._channel, self._scratch = channel, scratch
        self._lock = threading.Lock()
        self._pace = Pace()  # of all that is measured here
        self._settings: Settings | None = None
        self._bench: Bench
        self._task: Task

    def live(self) -> None:
        """Say now and then that this process is not stuck."""
        while True:
            self._say(Told(kind="alive"))
            time.sleep(ALIVE_S)

    def answer(self, line: str) -> None:
        """Do what `line` asks for."""
        try:
            if line == GREET:
                self._say(Told(kind="greeting", greeting=greeting()))
                return
            self._task = from_json(Task, line)
            self._measure()
            self._tell("done")
        except Exception as error:
            self._say(Told(kind="failed", text=isolation.describe(error)))

    def _measure(self) -> None:
        """Measure the contest of the task as `runner.run` would."""
        task = self._task
        if self._settings != task.settings:
            self._settings = task.settings
            self._bench = Bench(self._scratch, task.settings, self._under_way, self._pace)
        gpu = greeting().devices.get(task.cases[0].device) if task.together else None
        run = {"id": task.run, "seed": task.seed, "attempt": task.attempt, "host": short(host())}
        again = dict(zip(task.cases, task.again, strict=False))
        with hostlock.measuring(waiting=self._waiting, gpu=None if gpu == "cpu" else gpu):
            described(task.cases[0])  # the roofline, before and not between two implementations
            for turns in self._bench.measure(task.cases, again):
                position = {"position": task.positions[task.cases.index(turns.case)]}
                self._tell("record", record=turns.record(described(turns.case), run | position))

    def _under_way(self, case: Case) -> None:
        self._tell("under_way", index=self._task.cases.index(case))

    def _waiting(self, why: str) -> None:
        self._tell("waiting", text=why)

    def _tell(self, kind: str, **what: object) -> None:
        about = {"number": self._task.number, "attempt": self._task.attempt}
        self._say(Told(kind=kind, **about, **what))  # type: ignore[arg-type]

    def _say(self, told: Told) -> None:
        with self._lock:
            self._channel.write(to_json(told) + "\n")


def greeting() -> Greeting:
    """Return where this process runs."""
    return Greeting(
        machine=machine.fingerprint(),
        host=host(),
        devices=_devices(),
        threads=machine.default_threads(),
        versions=versions.here(),
    )


def host() -> str:
    """Return what all processes on one machine have in common that share its locks.

    The kernel's boot, not an address: containers on one machine have addresses of their own.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = os.uname().nodename
    return hashlib.sha256(f"{boot} {hostlock.folder().resolve()}".encode()).hexdigest()[:16]


def _devices() -> dict[str, str]:
    """What each device is: GPUs by what tells them apart, as a worker may see only some."""
    found = {"cpu": "cpu"}
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            found[f"cuda:{number}"] = str(getattr(properties, "uuid", f"cuda{number}"))
        found["cuda"] = found["cuda:0"]
    return found


if __name__ == "__main__":
    warnings.simplefilter("default")
    serve()

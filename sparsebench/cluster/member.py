"""What runs in a Dask worker: it passes lines between the client and an agent that measures.

The worker itself never imports torch: its memory and its event loop stay Dask's.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import dask.config
import distributed

RESOURCE = "sparsebench"  # of which each worker has one: a measurement

_SILENT_S = 30.0  # an agent that says nothing for so long is stuck
_START_S = 120.0  # importing torch from a cold network disk takes its time
_LEAVE_S = 2.0

_AGENT = "from sparsebench.cluster import agent; agent.serve()"


def greet() -> str:
    """Return the agent's greeting as JSON, and give this worker its resource if it has none."""
    worker = distributed.get_worker()
    if RESOURCE not in worker.state.total_resources:
        distributed.utils.sync(worker.loop, worker.set_resources, **{RESOURCE: 1})
    with _agent() as agent:
        for line, told in agent.ask("greet"):
            if told["kind"] == "greeting":
                return line
    raise AssertionError("unreachable: the agent answers or raises")


def work(task: str, topic: str) -> list[str]:
    """Have `task` measured; return the lines with its records.

    What the agent says is an event of `topic` as well, as soon as it is said. Raises RuntimeError
    where the agent fails, dies, or is stuck.
    """
    worker = distributed.get_worker()
    records = []
    with _agent() as agent:
        for line, told in agent.ask(task, topic):
            if told["kind"] == "done":
                break
            if told["kind"] == "record":
                records.append(line)
            if told["kind"] != "alive":
                worker.log_event(topic, line)
    return records


def stop(topic: str) -> None:
    """End what is being measured for `topic`; to be called beside `work`."""
    if _agent().topic == topic:
        _agent().kill()


@cache
def _agent() -> _Agent:
    """The worker's agent. It is started with its first task, and again if it has ended."""
    return _Agent()


class _Agent:
    """A process of `agent.serve`, for one task at a time: use as a context manager."""

    def __init__(self) -> None:
        self.topic = ""
        self._one = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._said: queue.Queue[str] = queue.Queue()

    def __enter__(self) -> _Agent:
        self._one.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self.topic = ""
        if exception[0] is not None:
            self.kill()  # whatever it was doing: the next one starts afresh
        self._one.release()

    def ask(self, line: str, topic: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        """Send `line`; yield what is answered, as text and as what it says, until a failure."""
        self.topic = topic
        process = self._started()
        assert process.stdin is not None
        with suppress(OSError):  # it has ended: then it does not answer either
            process.stdin.write(line + "\n")
            process.stdin.flush()
        patience = _START_S
        while True:
            try:
                answer = self._said.get(timeout=patience)
            except queue.Empty:
                raise RuntimeError(f"the measuring process is stuck for {patience:g} s") from None
            if not answer and process.wait() == 0:  # it had no work for long enough just now
                yield from self.ask(line, topic)
                return
            if not answer:
                raise RuntimeError(f"the measuring process ended with code {process.wait()}")
            told = json.loads(answer)
            if told["kind"] == "failed":
                raise RuntimeError(told["text"])
            yield answer, told
            patience = _SILENT_S

    def kill(self) -> None:
        """End the process, and all that it measures with it."""
        process = self._process
        if process is None or process.stdin is None:
            return
        with suppress(OSError):
            process.stdin.close()  # upon which it cleans up and leaves
        try:
            process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _started(self) -> subprocess.Popen[str]:
        process = self._process
        if process is not None and process.poll() is None:
            return process
        self.kill()  # it is dead, but its pipe is open
        # A session of its own: Ctrl-C in the terminal of a local cluster is the client's matter.
        process = self._process = subprocess.Popen(
            [sys.executable, "-c", _AGENT],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            env=_environment(),
        )  # fmt: skip
        self._said = queue.Queue()
        threading.Thread(target=_listen, args=(process, self._said), daemon=True).start()
        return process


def _environment() -> dict[str, str]:
    """The environment as it is without what Dask's nanny adds: one thread, another malloc."""
    added = dask.config.get("distributed.nanny.pre-spawn-environ", {})
    added |= dask.config.get("distributed.nanny.environ", {})
    return {name: v for name, v in os.environ.items() if str(added.get(name)) != v}


def _listen(process: subprocess.Popen[str], said: queue.Queue[str]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            said.put(line.strip())
    said.put("")

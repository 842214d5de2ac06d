"""Run a function in a process of its own, so that a crash costs one answer and nothing else."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sparsebench.measuring.gpu import out_of_memory
from sparsebench.records import Status

# A forkserver imports once what every process needs; one forked from it begins within 20 ms. That
# includes what the first optimizer would import (torch._dynamo), what its functions are in, and the
# command itself: a new process runs the main script's imports. The forkserver does no arithmetic:
# OpenMP's threads would not survive a fork.
_CONTEXT = multiprocessing.get_context("forkserver")
_PRELOADED = ("sparsebench.measuring.worker", "sparsebench.measuring.roofline", "sparsebench.cli")
_CONTEXT.set_forkserver_preload(["torch._dynamo", *_PRELOADED])
_forking: list[float] = []  # since when there is one, of time.monotonic


class Failure(Exception):  # noqa: N818 — an answer too, and no error of ours
    """The process gave no answer: `status` says how it ended, the message why."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status: Status = status


class Crash(Failure):
    """The process ended by itself before it answered: a signal killed it, or it left."""


def call(
    function: Callable[..., Any], *args: object, timeout_s: float, log: Path = Path(os.devnull)
) -> Any:
    """Return `function(*args)`, computed in a new process whose output goes to `log`.

    Raises Failure where the function raises, runs out of memory or of time, or its process dies.
    The process is gone when this returns, however it returns, and ends when this process dies; so
    are those that it has started: what a library leaves running would take the next one's cores.
    """
    killed_before = _oom_kills()
    receiver, sender = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_child, args=(sender, function, args, log), daemon=True)
    try:
        process.start()
        if not _forking:
            _forking.append(time.monotonic())
        sender.close()
        if not receiver.poll(timeout_s):
            raise Failure("timeout", f"took longer than {timeout_s:g} s")
        status, answer = receiver.recv()
    except EOFError:
        process.join()
        raise _post_mortem(process.exitcode, _oom_kills() > killed_before, log) from None
    finally:
        receiver.close()
        if process.pid is not None:
            with suppress(ProcessLookupError, PermissionError):  # it had not come so far
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.join()
    if status != "ok":
        raise Failure(status, answer)
    return answer


def end() -> None:
    """End the process that others are forked from, and so free its memory; `call` starts another.

    multiprocessing has no public way to: it ends its forkserver when the program ends.
    """
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    _forking.clear()


def renew(older_than_s: float) -> None:
    """End it where it is older: all that are forked from one find their memory at its addresses.

    How code and data happen to lie is then another matter of chance, and some seconds.
    """
    if _forking and time.monotonic() - _forking[0] > older_than_s:
        end()


def _child(
    sender: Connection, function: Callable[..., Any], args: tuple[object, ...], log: Path
) -> None:
    with suppress(OSError):
        os.setpgid(0, 0)  # a group of its own, with all that it starts
    gc.freeze()  # what was imported before the fork is never garbage: collecting takes no time now
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        sender.send(("ok", function(*args)))
    except Exception as error:
        sender.send(("oom" if out_of_memory(error) else "error", describe(error)))


def _end_with_parent() -> None:
    """Leave at once when the process that asked is gone, killed perhaps: nobody waits for us."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _post_mortem(exitcode: int | None, out_of_memory: bool, log: Path) -> Failure:
    if exitcode is not None and exitcode < 0:
        how = f"the process was killed by {signal.Signals(-exitcode).name}"
    else:
        how = f"the process ended with exit code {exitcode}"
    if out_of_memory:
        return Failure("oom", f"{how}: the system ran out of memory")
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return Crash("error", public(f"{how}; it said: {lines[-1]}" if lines else how))


def _oom_kills() -> int:
    """How many processes the kernel has killed for memory so far; 0 where it does not say."""
    try:
        counters = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    except OSError:
        return 0
    return int(counters.get("oom_kill", 0))


def describe(error: BaseException) -> str:
    """Return type and first line of `error`."""
    first_line = (str(error).strip().splitlines() or [""])[0]
    return public(f"{type(error).__name__}: {first_line}")


def public(text: str) -> str:
    """Return `text` without what would tell whose machine this is: folders and the home."""
    for folder, name in ((os.getcwd(), "."), (sys.prefix, "<env>"), (str(Path.home()), "~")):
        if len(folder) > 1:
            text = text.replace(folder, name)
    return text[:500]

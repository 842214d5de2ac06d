"""One measurement at a time on a host, whoever asks for it.

Runs that know nothing of each other, of other users too, meet at a file: whoever has it locked
measures, the others wait. The lock goes with the process that holds it, however that ends. All
processes of a machine have to see the same folder: `SPARSEBENCH_LOCKS` names another than /tmp.
"""

from __future__ import annotations

import fcntl
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

VARIABLE = "SPARSEBENCH_LOCKS"
_FOLDER = "/tmp"  # not tempfile's: a queue's jobs have each their own, and would not meet there
_HOST = "host"

_LOOK_S = 0.05  # how often to look whether the lock is free
_TELL_S = 5.0  # how often to say that it is not


def folder() -> Path:
    """Return where the locks of this machine are."""
    return Path(os.environ.get(VARIABLE) or _FOLDER)


@contextmanager
def measuring(
    *,
    waiting: Callable[[str], None] = lambda message: None,
    gpu: str | None = None,
) -> Iterator[None]:
    """Hold this host, alone, for a measurement; tell `waiting` now and then who else has it.

    With `gpu`, a name, hold that GPU alone, and the host together with others that hold a GPU.
    Where no lock can be made there is a warning, and no protection.
    """
    with ExitStack() as held:
        if gpu is None:
            held.enter_context(_locked(_HOST, fcntl.LOCK_EX, waiting))
        else:
            held.enter_context(_locked(_HOST, fcntl.LOCK_SH, waiting))
            held.enter_context(_locked(gpu, fcntl.LOCK_EX, waiting))
        yield


@contextmanager
def _locked(name: str, how: int, waiting: Callable[[str], None]) -> Iterator[None]:
    path = folder() / f"sparsebench-{''.join(c if c.isalnum() else '_' for c in name)}.lock"
    try:
        descriptor = _opened(path)
    except OSError as error:
        warnings.warn(
            f"{path}: {error.strerror}: other runs on this machine are not kept apart; "
            f"name a folder that all of them can write in {VARIABLE}",
            stacklevel=2,
        )
        yield
        return
    try:
        told = float("-inf")
        while not _try(descriptor, how):
            if time.monotonic() - told > _TELL_S:
                waiting(f"another run is measuring on this machine{_holder(path)}: waiting for it")
                told = time.monotonic()
            time.sleep(_LOOK_S)
        yield
    finally:
        os.close(descriptor)  # which unlocks it


def _opened(path: Path) -> int:
    """Open the lock, or make it: readable by all, as any open file can be locked."""
    try:
        # Linux lets nobody open with O_CREAT what somebody else made in /tmp.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC)
        with suppress(PermissionError):  # another user was quicker, and does the same
            os.fchmod(descriptor, 0o644)
        return descriptor


def _try(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(path: Path) -> str:
    """Who holds the lock, as Linux lists it: " (process 1234)", or nothing where it does not."""
    try:
        inode = path.stat().st_ino
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return ""
    # 1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF; a line of one who waits has an arrow more
    found = [int(at[4]) for at in lines if at[1] == "FLOCK" and at[5].endswith(f":{inode}")]
    return f" (process {found[0]})" if found and found[0] > 0 else ""

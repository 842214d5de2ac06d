"""A process of its own: whatever happens in it is one answer."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from sparsebench.measuring import isolation
from sparsebench.measuring.isolation import Failure


def call(function, *args, log, timeout_s=600.0):
    return isolation.call(function, *args, timeout_s=timeout_s, log=log)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def exit_loudly():
    print("the library says why", file=sys.stderr)
    sys.stderr.flush()
    os._exit(3)


def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def run_out_of_memory():
    raise MemoryError


def raise_with_a_path():
    raise RuntimeError(f"cannot open {os.getcwd()}/file\nmore lines")


def test_the_answer_comes_back_from_another_process(log):
    assert call(os.getpid, log=log) != os.getpid()


@pytest.mark.parametrize(
    ("function", "status", "message"),
    [
        (exit_loudly, "error", "ended with exit code 3; it said: the library says why"),
        (kill_itself, "error", "killed by SIGKILL"),
        (run_out_of_memory, "oom", "MemoryError"),
        (raise_with_a_path, "error", r"^RuntimeError: cannot open \./file$"),
    ],
)
def test_every_end_has_a_status(function, status, message, log):
    with pytest.raises(Failure, match=message) as failure:
        call(function, log=log)
    assert failure.value.status == status


def test_a_timeout_ends_the_process(log):
    start = time.monotonic()
    with pytest.raises(Failure, match=r"longer than 0\.3 s") as failure:
        call(time.sleep, 600, timeout_s=0.3, log=log)
    assert failure.value.status == "timeout"
    assert time.monotonic() - start < 300


@pytest.mark.parametrize(("older", "ended"), [(3600.0, 0), (0.0, 1)])
def test_a_later_pass_is_forked_from_another_process(older, ended, log, monkeypatch):
    """All that are forked from one find code and data at the same addresses."""
    ends = []
    monkeypatch.setattr(isolation.forkserver._forkserver, "_stop", lambda: ends.append(1))
    monkeypatch.setattr(isolation, "_forking", [])
    isolation.renew(older)
    assert not ends  # there is none
    call(os.getpid, log=log)
    isolation.renew(older)
    isolation.renew(older)
    assert len(ends) == ended


def leave_another_running():
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    return started.pid


def test_what_a_process_has_started_ends_with_it(log):
    """It would take the cores of whatever is measured next."""
    left = call(leave_another_running, log=log)
    end = time.monotonic() + 300
    while psutil.pid_exists(left) and psutil.Process(left).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_the_kernel_killed_for_memory_is_oom(log, monkeypatch):
    counts = iter([4, 5])
    monkeypatch.setattr(isolation, "_oom_kills", lambda: next(counts))
    with pytest.raises(Failure, match="ran out of memory") as failure:
        call(kill_itself, log=log)
    assert failure.value.status == "oom"

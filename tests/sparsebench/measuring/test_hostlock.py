"""One measurement at a time on a host: between threads and processes, and however they end."""

import os
import subprocess
import sys
import threading
import time

import pytest

from sparsebench.measuring import hostlock

HOLD = """\
import sys, time
from sparsebench.measuring import hostlock
with hostlock.measuring(gpu=sys.argv[1] or None):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def locks(monkeypatch, tmp_path):
    monkeypatch.setenv(hostlock.VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture
def another():
    """Start processes that hold the lock until they are killed."""
    started = []

    def start(gpu=""):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, gpu], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_two_at_once_take_turns():
    inside, most = [], []

    def measure():
        for _ in range(5):
            with hostlock.measuring():
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=measure) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 10


def test_who_waits_is_told_for_whom_and_goes_on_when_that_one_is_killed(another):
    holder = another()
    said = []

    def waiting(message):
        said.append(message)
        holder.kill()

    with hostlock.measuring(waiting=waiting):
        assert holder.wait(600) == -9
    assert said == [
        f"another run is measuring on this machine (process {holder.pid}): waiting for it"
    ]


@pytest.mark.parametrize(
    ("theirs", "ours", "together"),
    [("0", "1", True), ("0", "0", False), ("", "1", False), ("0", None, False)],
)
def test_gpus_are_locked_one_by_one_where_asked_for(theirs, ours, together, another):
    holder = another(theirs)
    waited = []

    def waiting(message):
        waited.append(message)
        holder.kill()

    with hostlock.measuring(waiting=waiting, gpu=ours):
        pass
    assert bool(waited) is not together


def test_the_lock_is_one_for_all_users(locks):
    before = os.umask(0o077)
    try:
        with hostlock.measuring():
            pass
    finally:
        os.umask(before)
    with hostlock.measuring():
        (file,) = locks.iterdir()
        assert os.stat(file).st_mode & 0o444 == 0o444


def test_where_no_lock_can_be_made_there_is_a_warning(monkeypatch, tmp_path):
    monkeypatch.setenv(hostlock.VARIABLE, str(tmp_path / "missing"))
    with pytest.warns(UserWarning, match="not kept apart.*SPARSEBENCH_LOCKS"), hostlock.measuring():
        pass


def test_without_a_name_it_is_where_all_users_meet(monkeypatch):
    monkeypatch.delenv(hostlock.VARIABLE)
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert str(hostlock.folder()) == "/tmp"

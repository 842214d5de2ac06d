"""A real run that is refused, interrupted, killed, torn, and at last finished."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from typer.testing import CliRunner

from sparsebench import cli, records
from sparsebench.errors import StoreError

SWEEP = """\
sample_s = 0.02
rounds = 2
[grid]
implementation = ["dense", "reference"]
width = 32
sparsity = [0.5, 0.6, 0.7]
batch = [1, 2]
phase = "inference"
threads = 1
"""
CASES = 12
PATIENCE_S = 600


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sweep.toml").write_text(SWEEP)
    return tmp_path


def start(folder):
    return subprocess.Popen(
        [sys.executable, "-m", "sparsebench", "run", "sweep.toml", "--out", "out"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def lines(folder):
    path = folder / "out" / "records.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def wait_for(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def workers(run):
    """The processes that measure: the children of the forkserver, a child of the run."""
    try:
        return [p for c in psutil.Process(run.pid).children() for p in c.children()]
    except psutil.NoSuchProcess:
        return []


@pytest.mark.slow
def test_whatever_ends_a_run_the_next_one_goes_on(folder):
    # Ctrl-C, after a second run was refused.
    first = start(folder)
    wait_for(lambda: lines(folder) >= 2)
    first.send_signal(signal.SIGSTOP)  # however long the second takes, the first has not ended
    second = CliRunner().invoke(
        cli.app, ["run", str(folder / "sweep.toml"), "--out", str(folder / "out")]
    )
    assert isinstance(second.exception, StoreError)
    assert "another run is writing here" in str(second.exception)
    first.send_signal(signal.SIGINT)
    first.send_signal(signal.SIGCONT)
    output, _ = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 130, output
    assert "resume with the same command" in output
    after_interrupt = lines(folder)
    assert 2 <= after_interrupt < CASES
    assert not (folder / "out" / ".scratch").exists()

    # kill -9 of a worker: one record says so, the run goes on. Then of the run itself: its
    # workers end with it.
    third = start(folder)
    wait_for(lambda: lines(folder) > after_interrupt and workers(third))
    workers(third)[0].kill()
    killed_at = lines(folder)
    wait_for(lambda: lines(folder) > killed_at and workers(third))
    family = psutil.Process(third.pid).children(recursive=True)
    third.kill()
    third.communicate(timeout=PATIENCE_S)
    assert psutil.wait_procs(family, timeout=PATIENCE_S)[1] == []
    after_kill = lines(folder)
    assert after_interrupt < after_kill < CASES

    # A line torn by the crash; the next run drops it, and finishes.
    path = folder / "out" / "records.jsonl"
    with path.open("a") as file:
        file.write('{"schema_version":1,"case":{"impl')
    last = start(folder)
    output, _ = last.communicate(timeout=PATIENCE_S)
    assert last.returncode == 0, output
    assert "torn by a crash" in output
    assert f"{after_kill} of {CASES} cases have a record" in output
    found = records.load(folder / "out")
    assert len(found) == CASES
    assert all(record.round_count >= 2 for record in found if record.status == "ok")
    failed = [record for record in found if record.status != "ok"]
    assert all(record.message == "the process was killed by SIGKILL" for record in failed)
    assert len(failed) <= 1
    assert os.path.exists(folder / "out" / "tables")

"""What a run takes beside the case it measures: the command and the process others are forked from.

The bound is the promise: 1 GB, while cases run and while tables and plots are drawn.
"""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

REFERENCE = Path(__file__).parents[3] / "results" / "reference" / "default"
SWEEP = """\
sample_s = 0.01
rounds = 1
[grid]
implementation = ["dense", "reference"]
width = 32
sparsity = [0.5, 0.9]
batch = 1
phase = "inference"
threads = 1
"""


def bytes_of_the_harness(run):
    """Anonymous memory, which is what the suite counts of a case too: no pages of libraries."""
    own = 0
    with suppress(psutil.NoSuchProcess, OSError, KeyError):  # it has just ended
        # Children of the forkserver are cases, which do not count.
        for process in (run, *run.children()):
            if process == run or any("forkserver" in word for word in process.cmdline()):
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                status = dict(line.split(":", 1) for line in lines)
                own += 1024 * int(status["RssAnon"].split()[0])
    return own


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sizes are read from /proc")
def test_a_run_takes_less_than_a_gigabyte_beside_its_cases(tmp_path):
    (tmp_path / "sweep.toml").write_text(SWEEP)
    (tmp_path / "out").mkdir()
    # Another machine's records, so that there is as much to draw as after the default sweep: of
    # one phase and two widths, as figures are drawn and freed one after the other.
    lines = (REFERENCE / "records.jsonl").read_text().splitlines(keepends=True)
    cases = [json.loads(line)["case"] for line in lines]
    kept = [
        line for line, case in zip(lines, cases, strict=True)
        if case["phase"] == "forward_backward" and case["in_features"] in (512, 4096)
    ]  # fmt: skip
    assert len(kept) > 100
    (tmp_path / "out" / "records.jsonl").write_text("".join(kept))
    with (tmp_path / "log").open("w") as log:
        run = subprocess.Popen(
            [sys.executable, "-m", "sparsebench", "run", "sweep.toml", "--out", "out"],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
        peak = 0
        while run.poll() is None:
            try:
                peak = max(peak, bytes_of_the_harness(psutil.Process(run.pid)))
                run.wait(0.1)
            except (psutil.NoSuchProcess, subprocess.TimeoutExpired):
                continue
    assert run.returncode == 0, (tmp_path / "log").read_text()
    assert (tmp_path / "out" / "plots").is_dir()
    assert 50e6 < peak < 1e9, f"took {peak / 1e6:.0f} MB"

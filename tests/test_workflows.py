"""The workflows say what the project has: files that are read, not run."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
TEXT = WORKFLOW.read_text("utf-8")


def test_it_is_yaml_with_the_jobs_that_are_promised():
    yaml = pytest.importorskip("yaml")
    jobs = yaml.safe_load(TEXT)["jobs"]
    assert set(jobs) == {"lint", "test", "check-perf", "notebooks", "dist", "wheels"}
    matrix = jobs["test"]["strategy"]["matrix"]
    assert matrix["os"] == ["ubuntu-latest", "macos-latest"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert all(job["steps"] for job in jobs.values())
    assert jobs["check-perf"]["permissions"]["pull-requests"] == "write"


def test_every_target_is_one_of_the_makefiles():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = set(re.findall(r"run: make ([a-z-]+)", TEXT))
    assert {"lint", "test", "trip-wires", "install"} <= asked <= targets


def test_what_ci_runs_includes_the_trip_wires():
    assert "make lint test test-slow trip-wires" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("apt", ["works", "fails", "is not there"])
def test_what_ci_runs_goes_on_without_a_browser(apt, tmp_path):
    (tmp_path / ".ci").mkdir()
    shutil.copy2(ROOT / ".ci" / "run", tmp_path / ".ci")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "env", "id", "timeout"):
        (tools / name).symlink_to(shutil.which(name))
    stubs = {"make": f'echo "$@" >> {tmp_path}/made', "sudo": 'shift; "$@"'}
    if apt != "is not there":
        stubs["apt-get"] = f"echo $1 >> {tmp_path}/asked; [ {apt} = works ]"
    for name, line in stubs.items():
        (tools / name).write_text(f"#!{tools}/bash\n{line}\n")
        (tools / name).chmod(0o755)
    done = subprocess.run(
        [tools / "bash", tmp_path / ".ci" / "run"],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made").read_text() == "lint test test-slow trip-wires\n"
    assert ("are skipped" in done.stdout) == (apt == "fails")
    if apt != "is not there":
        asked = (tmp_path / "asked").read_text().split()
        assert asked == (["update", "install"] if apt == "works" else ["update"])


def test_names_of_ours_are_written_as_they_are():
    assert set(re.findall(r"sparse\w+", TEXT)) <= {"sparsebench", "sparselayers"}


@pytest.mark.parametrize(("target", "patient"), [("test", 1), ("test-slow", 1), ("trip-wires", 0)])
def test_threads_of_tests_wait_without_spinning_and_what_is_measured_is_as_users_run_it(
    target, patient, tmp_path
):
    for name in ("python", "sparsebench"):
        (tmp_path / name).write_text(f"#!/bin/sh\nenv > {tmp_path}/environment\n")
        (tmp_path / name).chmod(0o755)
    stamp = tmp_path / "stamp"  # newer than all sources, of which none has moved:
    stamp.write_text("Makefile\n")  # nothing is installed
    path = os.environ["PATH"]
    asked = ["make", "-C", ROOT, target, f"STAMP={stamp}", f"BIN={tmp_path}"]
    subprocess.run(asked, env={"PATH": path}, check=True, capture_output=True)
    environment = (tmp_path / "environment").read_text().splitlines()
    assert ("OMP_WAIT_POLICY=passive" in environment) == patient
    assert ("GOMP_SPINCOUNT=0" in environment) == patient

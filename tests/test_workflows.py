"""The workflows say what the project has: files that are read, not run."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
TEXT = WORKFLOW.read_text("utf-8")


def test_it_is_yaml_with_the_jobs_that_are_promised():
    yaml = pytest.importorskip("yaml")
    jobs = yaml.safe_load(TEXT)["jobs"]
    assert set(jobs) == {"lint", "test", "check-perf", "wheels"}
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
    assert "make lint test trip-wires" in (ROOT / ".ci" / "run").read_text()

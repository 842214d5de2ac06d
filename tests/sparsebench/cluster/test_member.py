"""What runs in a Dask worker, around the process that measures."""

import os

import pytest

member = pytest.importorskip("sparsebench.cluster.member")  # needs Dask


def agent(monkeypatch, program):
    """An agent that is another program."""
    monkeypatch.setattr(member, "_AGENT", program)
    return member._Agent()


def test_what_dask_adds_to_the_environment_is_taken_away(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MKL_NUM_THREADS", "3")  # somebody's own wish
    environment = member._environment()
    assert "MALLOC_TRIM_THRESHOLD_" not in environment
    assert "OMP_NUM_THREADS" not in environment
    assert environment["MKL_NUM_THREADS"] == "3"
    assert environment["PATH"] == os.environ["PATH"]


def test_an_agent_that_dies_fails_its_task_and_the_next_one_gets_another(monkeypatch):
    program = """if 1:
        import json, os, sys
        for line in sys.stdin:
            if line.strip() == "die":
                os._exit(7)
            print(json.dumps({"kind": "done", "text": line.strip()}), flush=True)
    """
    with agent(monkeypatch, program) as one:
        assert next(one.ask("a"))[1]["text"] == "a"
        with pytest.raises(RuntimeError, match="ended with code 7"):
            next(one.ask("die"))
        assert next(one.ask("b"))[1]["text"] == "b"
        one.kill()


def test_an_agent_that_was_idle_for_long_has_ended_and_is_started_again(monkeypatch, tmp_path):
    program = f"""if 1:
        import json, pathlib, sys
        line = sys.stdin.readline()
        if not pathlib.Path({str(tmp_path / "been")!r}).exists():
            pathlib.Path({str(tmp_path / "been")!r}).touch()
            sys.exit(0)
        print(json.dumps({{"kind": "done", "text": line.strip()}}), flush=True)
        sys.stdin.read()
    """
    with agent(monkeypatch, program) as one:
        assert next(one.ask("a"))[1]["text"] == "a"
        one.kill()


def test_an_agent_that_says_nothing_is_stuck_and_is_killed(monkeypatch):
    monkeypatch.setattr(member, "_START_S", 0.2)
    monkeypatch.setattr(member, "_LEAVE_S", 0.1)
    one = agent(monkeypatch, "import time; time.sleep(600)")
    with pytest.raises(RuntimeError, match=r"stuck for 0\.2 s"), one:
        next(one.ask("a"))
    assert one._process.returncode == -9


def test_what_an_agent_reports_as_failed_is_the_reason(monkeypatch):
    program = """if 1:
        import json, sys
        sys.stdin.readline()
        print(json.dumps({"kind": "failed", "text": "ValueError: no"}), flush=True)
        sys.stdin.read()
    """
    one = agent(monkeypatch, program)
    with pytest.raises(RuntimeError, match="ValueError: no"), one:
        next(one.ask("a"))

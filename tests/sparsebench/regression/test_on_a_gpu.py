"""The script for a GPU that is lent: its steps are there, and each gets its time and no more."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from sparsebench.cases import sweep
from sparsebench.training import experiment
from sparsebench.training.coded import CODED

ROOT = Path(__file__).parents[3]


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("on_a_gpu", ROOT / "benchmarks" / "on_a_gpu.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "on_a_gpu", module)  # its dataclass asks for it
    spec.loader.exec_module(module)
    return module


def test_twelve_minutes_are_enough_for_all(script):
    assert sum(each.minutes for each in script.STEPS) <= 12
    names = [each.name for each in script.STEPS]
    assert len(set(names)) == len(names)


def test_every_step_asks_for_what_there_is(script, tmp_path):
    for each in script.STEPS:
        module, command, name, *_ = each.command(tmp_path)[2:]
        if (module, command) == ("sparsebench", "run"):
            assert sweep.load(name).cases(["cuda"], [1]), name
        elif (module, command) == ("sparsebench", "train"):
            assert name in CODED or experiment.load(name).rows, name
        else:
            assert (module, each.command(tmp_path)[-1]) == ("pytest", "tests/gpu")


@pytest.mark.parametrize(
    ("line", "how"),
    [
        ("", "done"),
        ("raise SystemExit(3)", "failed, exit code 3"),
        ("import time; time.sleep(60)", "its time was over"),
        (
            "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)",
            "its time was over",
        ),
    ],
    ids=["done", "failed", "too long", "deaf"],
)
def test_how_a_step_ended_is_said(script, monkeypatch, line, how):
    monkeypatch.setattr(script, "GRACE_S", 0.5)
    seconds = 1.0 if "sleep" in line else 60.0
    assert script._ended([sys.executable, "-S", "-c", line], seconds) == how


def test_a_step_that_fails_does_not_keep_others_from_their_time(script, monkeypatch, tmp_path):
    given = {}

    def ended(command, seconds):
        given[command[-1]] = seconds
        return "failed, exit code 1" if command[-1] == "a" else "done"

    monkeypatch.setattr(script, "_ended", ended)
    steps = [script.Step(name, minutes, (name,)) for name, minutes in (("a", 1), ("b", 2))]
    how = [each["how"] for each in script.run(steps, tmp_path, 6)]
    assert how == ["failed, exit code 1", "done"]
    # What nobody else asked for goes to whoever is next, and what one left to the one after.
    assert given["a"] == pytest.approx(240, abs=1)
    assert given["b"] == pytest.approx(360, abs=1)


def test_what_was_done_is_on_file(script, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(script, "_ended", lambda command, seconds: "done")
    assert script.main([str(tmp_path), "--only", "right"]) == 0
    (line,) = (tmp_path / "steps.jsonl").read_text().splitlines()
    assert json.loads(line)["how"] == "done"
    with pytest.raises(SystemExit):
        script.main([str(tmp_path), "--minutes", "0"])
    assert "--minutes 0" in capsys.readouterr().err

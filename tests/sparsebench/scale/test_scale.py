import json
import statistics
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sparsebench import cli
from sparsebench.errors import InputError
from sparsebench.scale import measure
from sparsebench.scale import run as runs
from sparsebench.scale.records import STAGES, ScaleCase, load


def run(*arguments):
    result = CliRunner().invoke(cli.app, ["scale", *(str(argument) for argument in arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def quickly(case, folder):
    """Measure, in whatever process this is called, and repeat little."""
    measure.ENOUGH = 0.01
    return measure.measure(case, folder)


@pytest.mark.slow
def test_every_stage_is_measured_once_and_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "measure", quickly)
    arguments = (
        "--width",
        300,
        "--per-output",
        10,
        "--batch",
        2,
        "--threads",
        1,
        "--out",
        tmp_path,
    )
    shown = run(*arguments).stdout
    assert "300 wide, 3e+03 connections" in shown
    (record,) = load(tmp_path)
    assert record.status == "ok", record.message
    assert tuple(record.costs) == STAGES
    assert all(min(cost.samples) > 0 for cost in record.costs.values())
    # What is quick is called again, and every call counts.
    for cost in record.costs.values():
        assert sum(cost.samples) >= 0.005 or len(cost.samples) >= 100
    for stage in ("inference", "training step"):
        assert len(record.costs[stage].samples) >= 3
    assert record.arrays == 4 * (3000 + 3000 + 300 + 301)  # values, columns, bias, row pointers
    assert "wide, " not in run(*arguments).stdout
    assert len((tmp_path / "scale.jsonl").read_text().splitlines()) == 1
    assert (tmp_path / "plots" / "scale-times.png").exists()
    (plain,) = json.loads(run(*arguments, "--json").stdout)
    assert (plain["width"], plain["connections"], plain["status"]) == (300, 3000, "ok")
    medians = {stage: statistics.median(cost.samples) for stage, cost in record.costs.items()}
    assert {stage: cost["seconds"] for stage, cost in plain["stages"].items()} == medians
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".files")] == []


def test_what_does_not_fit_is_a_record_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("sparsebench.measuring.memory.available", lambda device: 10**6)
    case = ScaleCase(width=10**5, per_output=10)
    (record,) = runs.run([case], tmp_path, timeout_s=10)
    assert record.status == "oom"
    assert record.message == "needs about 0.18 GB of memory, 0.001 GB are free"


def test_more_connections_than_inputs_are_refused(tmp_path):
    with pytest.raises(InputError, match="--per-output must be from 1 to below --width, got 10"):
        run("--width", 10, "--per-output", 10, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_widest_layer_on_record_trains_in_24_gb_and_files_take_no_copy():
    """The promise is kept where it was measured: 10⁸ connections take minutes, and no test does."""
    reference = Path(__file__).parents[3] / "results" / "reference" / "scale"
    (record,) = (r for r in load(reference) if r.case.connections == 10**8)
    assert max(cost.peak for cost in record.costs.values()) < 24e9
    assert all(cost.peak >= 0.999 * cost.held for cost in record.costs.values())
    for stage in ("save", "load"):
        assert record.costs[stage].peak <= 1.2 * record.arrays

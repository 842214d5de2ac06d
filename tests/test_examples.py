"""Every example and every notebook runs as it is, at small sizes."""

import os
import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sparsebench import cli
from sparsebench.cases import sweep
from sparsebench.training import experiment
from sparsebench.training import records as training_records

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
NOTEBOOKS = sorted((ROOT / "experiments" / "notebooks").glob("*.py"))

SMALL = {
    "convert_layer": [],
    "whole_network": ["--size", "32", "--batch", "2"],
    "linear": ["--in", "96", "--out", "64", "--batch", "8"],
    "conv2d": ["--channels", "8", "--size", "8", "--batch", "2"],
    "lightning_style": ["--epochs", "1"],
}
PROCESSES = ["ddp"]
HUGGING_FACE = ["hugging_face"]


def program(path, monkeypatch, *arguments):
    """Run a file as `python path arguments` does, in this process."""
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    return runpy.run_path(str(path), run_name="__main__")


@pytest.mark.parametrize("name", SMALL)
def test_an_example_runs(name, monkeypatch, capsys):
    program(EXAMPLES / f"{name}.py", monkeypatch, *SMALL[name])
    assert capsys.readouterr().out


@pytest.mark.slow
def test_ranks_keep_the_same_connections():
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", EXAMPLES / "ddp.py", "--steps", "20"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "2 ranks, the same 410 connections" in done.stdout


@pytest.mark.skipif(
    not all(map(find_spec, ("transformers", "accelerate"))),
    reason="needs transformers and accelerate",
)
@pytest.mark.filterwarnings("ignore")  # theirs, many and changing
def test_a_hugging_face_trainer_rewires(monkeypatch, capsys):
    program(EXAMPLES / "hugging_face.py", monkeypatch, "--steps", "6")
    assert "as many connections, others: True" in capsys.readouterr().out


def command(*arguments):
    """What the command prints."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_sweep_asks_for_what_it_says():
    asked = sweep.load(str(EXAMPLES / "my_sweep.toml")).cases(["cpu"], [1])
    assert {case.in_features for case in asked} == {784, 512}
    assert not [c for c in asked if c.implementation == "torch_csr" and c.phase != "inference"]
    assert len(asked) == 10 + 16
    planned = command("run", EXAMPLES / "my_sweep.toml", "--threads", "1", "--dry-run")
    assert "26 cases" in planned


def test_the_experiment_trains_the_rows_that_it_says(tmp_path):
    path = EXAMPLES / "my_experiment.toml"
    rows = experiment.load(str(path)).rows
    assert [row.row for row in rows] == ["dense", "sparse", "sparse, set", "sparse, rigl"]
    small = ["--dataset", "mnist-subset", "--width", "40", "--images", "640", "--epochs", "1"]
    once = ["--threads", "1", "--seeds", "1", "--untimed", "--json", "--out", tmp_path]
    command("train", path, "--row", "sparse", *small, *once)
    (line,) = (tmp_path / training_records.FILE_NAME).read_text("utf-8").splitlines()
    record = training_records.TrainingRecord.model_validate_json(line)
    assert (record.status, record.setting.sparsity) == ("ok", 0.95)


def test_every_example_is_short_listed_and_tried():
    text = (EXAMPLES / "README.md").read_text("utf-8")
    programs = sorted(EXAMPLES.glob("*.py"))
    assert {path.stem for path in programs} == {*SMALL, *PROCESSES, *HUGGING_FACE}
    assert not [p.name for p in programs if len(p.read_text("utf-8").splitlines()) >= 60]
    listed = set(re.findall(r"\]\(([\w.]+)\)", text))
    assert listed == {p.name for p in EXAMPLES.iterdir() if p.suffix in {".py", ".toml"}}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, monkeypatch, capsys):
    plots = pytest.importorskip("matplotlib.pyplot")
    plots.switch_backend("agg")
    monkeypatch.setenv("NOTEBOOK_QUICK", "1")
    program(path, monkeypatch)
    plots.close("all")
    capsys.readouterr()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_text_that_jupyter_opens(path):
    text = path.read_text("utf-8")
    assert text.startswith("# ---\n# jupyter:\n")
    cells = re.findall(r"^# %%(.*)$", text, re.MULTILINE)
    assert cells[0] == " [markdown]"
    assert {" [markdown]", ""} == set(cells)
    assert f"]({path.name})" in (path.parent / "README.md").read_text("utf-8")

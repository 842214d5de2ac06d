import json
import re
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from sparsebench import cli
from sparsebench.errors import InputError
from sparsebench.training.records import load

pytestmark = pytest.mark.usefixtures("undrawn")
SMALL = [
    "train", "mnist", "--dataset", "mnist-subset", "--row", "sparse", "--width", "40",
    "--threads", "1", "--untimed",
]  # fmt: skip


def run(*arguments):
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def outcome(folder):
    (record,) = load(folder)
    return [(epoch.loss, epoch.accuracy) for epoch in record.epochs], record.resumed


@pytest.mark.slow
def test_a_run_killed_with_9_goes_on_to_the_numbers_of_one_that_was_not(tmp_path):
    arguments = [*SMALL, "--epochs", "6"]
    command = [sys.executable, "-m", "sparsebench", *arguments, "--out", str(tmp_path / "killed")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 600
    while not list((tmp_path / "killed").glob("checkpoints/*.pt")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "goes on after epoch" in run(*arguments, "--out", tmp_path / "killed").stdout
    run(*arguments, "--out", tmp_path / "whole")
    killed, resumed = outcome(tmp_path / "killed")
    assert resumed == 1
    assert killed == outcome(tmp_path / "whole")[0]


def test_a_second_run_trains_nothing_and_shows_the_table(tmp_path):
    first = run(*SMALL, "--epochs", 1, "--out", tmp_path)
    again = run(*SMALL, "--epochs", 1, "--out", tmp_path)
    assert "epoch 1/1, loss" in first.stdout
    assert "1 of 1 runs have a record" in again.stdout
    assert "epoch 1/1, loss" not in again.stdout
    assert "NOT COMPARABLE" in re.sub(r"\s+", " ", again.stdout)
    assert (tmp_path / "tables" / "mnist-mnist-subset-1-epochs.md").exists()
    plain = json.loads(run(*SMALL, "--epochs", 1, "--out", tmp_path, "--json").stdout)
    (row,) = plain["mnist-mnist-subset-1-epochs"]["rows"]
    assert row["row"].startswith("sparse")
    fresh = run(*SMALL, "--epochs", 1, "--out", tmp_path, "--fresh")
    assert "epoch 1/1, loss" in fresh.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mnits"], "unknown experiment 'mnits': choose one of .*mnist.*toy.*or give a path"),
        (["mnist", "--row", "rigl"], r"unknown row 'rigl' of mnist: choose from \['dense'"),
        (["mnist", "--dataset", "CIFAR"], "unknown dataset 'CIFAR': choose one of MNIST"),
        (["mnist", "--sparsity", "1"], r"--sparsity must be in \[0, 1\), got 1.0"),
        (["mnist", "--topology", "ring"], "--topology must be one of random"),
        (["mnist", "--data-dir", "/nowhere"], "looked in --data-dir: /nowhere/MNIST/raw"),
        (["mnist", "--device", "tpu"], "--device tpu: choose cpu, cuda"),
        (["recipe-search", "--dataset", "mnist-subset"], "validation must hold out 1 to 9999"),
        (["wide", "--width", "15", "--dataset", "mnist-subset"], "a multiple of 10.*got 15"),
    ],
)
def test_bad_input_is_one_message_and_nothing_is_written(tmp_path, arguments, message):
    with pytest.raises(InputError, match=f"(?s){message}"):
        run("train", *arguments, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_changed_rows_are_named_by_what_was_changed(tmp_path):
    run(*SMALL, "--epochs", 1, "--lr", 0.05, "--out", tmp_path)
    (record,) = load(tmp_path)
    assert record.setting.row == "sparse, width 40, lr 0.05"
    assert record.setting.lr == 0.05


def test_the_kind_of_network_chooses_the_row_nearest_to_it(tmp_path):
    run("train", "mnist", "--dataset", "mnist-subset", "--topology", "small_world",
        "--epochs", 1, "--width", 40, "--out", tmp_path)  # fmt: skip
    (record,) = load(tmp_path)
    assert record.setting.row == "small-world, width 40"


def test_rows_can_be_timed_alone(tmp_path):
    arguments = ["train", "same-time", "--dataset", "mnist-subset", "--width", "40"]
    run(*arguments, "--seeds", 1, "--time-only", "--steps", 10, "--out", tmp_path)
    records = load(tmp_path)
    assert [record.setting.model for record in records] == ["dense", "masked", "sparse"]
    assert all(len(record.timing.samples) == 10 for record in records)
    assert all(record.peak_memory for record in records)


def test_experiments_are_listed_with_their_questions():
    listed = run("train", "--list").stdout
    assert "can sparse equal dense?" in listed
    assert "dense, k-winners" in listed


def test_what_cannot_be_trained_is_not_listed_either():
    with pytest.raises(InputError, match=r"--sparsity must be in \[0, 1\), got 95"):
        run("train", "mnist", "--sparsity", "95", "--list")


def test_one_experiment_is_listed_as_json():
    listed = json.loads(run("train", "mnist", "--list", "--json").stdout)
    assert "dense, k-winners" in listed["mnist"]["rows"]


def test_tensorboard_gets_every_epoch(tmp_path):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="pip install tensorboard"
    )
    run(*SMALL, "--epochs", 2, "--out", tmp_path / "out", "--tensorboard", tmp_path / "logs")
    (folder,) = {path.parent for path in (tmp_path / "logs").rglob("*tfevents*")}
    events = reader.EventAccumulator(str(folder)).Reload()
    (record,) = load(tmp_path / "out")
    for name, values in (
        ("loss/train", [epoch.loss for epoch in record.epochs]),
        ("accuracy/test", [epoch.accuracy for epoch in record.epochs]),
    ):
        logged = events.Scalars(name)
        assert [event.step for event in logged] == [1, 2]
        assert [event.value for event in logged] == pytest.approx(values, rel=1e-6)


def test_tensorboard_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("sparsebench.training.tensorboard.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install tensorboard"):
        run(*SMALL, "--epochs", 1, "--out", tmp_path, "--tensorboard", tmp_path / "logs")

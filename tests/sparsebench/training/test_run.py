from dataclasses import replace

import pytest

from sparsebench.training import checkpoint, run
from sparsebench.training.checkpoint import CheckpointError
from sparsebench.training.records import load
from sparsebench.training.settings import MLPSetting
from sparsebench.training.step_times import time_steps

SMALL = MLPSetting(
    experiment="test", row="sparse", sparsity=0.5, width=20, epochs=2, batch=50, lr=0.05,
    dataset="mnist-subset",
)  # fmt: skip


def test_runs_are_recorded_and_not_run_again(digits, silent, tmp_path):
    settings = run.over_seeds([SMALL], range(2))
    made = list(run.run(settings, digits, tmp_path, silent))
    assert [record.setting.seed for record in made] == [0, 1]
    assert load(tmp_path) == made
    more = run.over_seeds([SMALL], range(3))
    assert run.pending(more, tmp_path) == more[2:]
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_run_that_fails_costs_itself_alone(digits, silent, tmp_path):
    settings = [replace(SMALL, lr=1e30), replace(SMALL, batch=1000), SMALL]
    made = list(run.run(settings, digits, tmp_path, silent))
    assert [record.status for record in made] == ["diverged", "error", "ok"]
    assert [record.status for record in load(tmp_path)] == ["diverged", "error", "ok"]
    assert run.pending(settings, tmp_path) == []
    assert run.pending(settings, tmp_path, retry_failed=True) == settings[:2]


def test_a_broken_checkpoint_stops_before_anything_is_lost(digits, silent, tmp_path):
    path = checkpoint.path_of(tmp_path, SMALL)
    path.parent.mkdir()
    path.write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="delete it, or start over with --fresh"):
        list(run.run([SMALL], digits, tmp_path, silent))
    assert path.read_bytes() == b"torn"


def test_dropped_settings_run_again(digits, silent, tmp_path):
    settings = run.over_seeds([SMALL], range(2))
    list(run.run(settings, digits, tmp_path, silent))
    run.drop(settings[:1], tmp_path)
    assert run.pending(settings, tmp_path) == settings[:1]


def test_timed_steps_are_spread_over_turns(digits, tmp_path):
    dense = replace(SMALL, row="dense", model="dense")
    made = time_steps([SMALL, dense], digits, tmp_path, steps=5)
    for record in made:
        assert record.purpose == "time"
        assert record.epochs == []
        assert len(record.timing.samples) == 10
        assert record.timing.steps == 1
        assert record.timing.steps_per_epoch == 6
        assert all(sample > 0 for sample in record.timing.samples)
    assert load(tmp_path) == made
    assert run.pending([SMALL], tmp_path) == [SMALL]  # a time is no accuracy


def test_what_cannot_be_timed_is_recorded_and_the_rest_goes_on(digits, tmp_path):
    impossible = replace(SMALL, model="dense", rewiring="rigl")
    made = time_steps([impossible, SMALL], digits, tmp_path, steps=5)
    assert [record.status for record in made] == ["error", "ok"]
    assert "a dense model has nothing to rewire" in made[0].message

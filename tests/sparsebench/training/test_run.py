from dataclasses import replace

import pytest

from sparsebench.training import checkpoint, run, step_times
from sparsebench.training.checkpoint import CheckpointError
from sparsebench.training.records import load
from sparsebench.training.settings import MLPSetting
from sparsebench.training.step_times import time_steps
from sparselayers.dynamic import SET
from sparselayers.layer import SparseLayer

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


def test_a_network_that_gets_sparser_is_timed_as_it_is_in_every_part(digits, tmp_path, monkeypatch):
    sparser = replace(
        SMALL, epochs=10, update_every=6, sparsity=0.9, initial_sparsity=0.5,
        annealing="cubic", anneal_until=30, rewiring="granet", stop_after=1,
    )  # fmt: skip
    advance, shares = step_times._Timed.advance, []

    def noted(self, steps):
        taken = advance(self, steps)
        layers = [m for m in self.progress.network.modules() if isinstance(m, SparseLayer)]
        places = sum(layer.shape[0] * layer.shape[1] for layer in layers)
        shares.append(sum(layer.weights.numel() for layer in layers) / places)
        return taken

    monkeypatch.setattr(step_times._Timed, "advance", noted)
    (record,) = time_steps([sparser], digits, tmp_path, steps=10)
    assert record.status == "ok"
    assert record.timing.by_part
    assert "in the middle of its part" in record.timing.method
    # An epoch has 6 steps, as many as between two prunings: in the middle of part k, from 0, there
    # were k of them, and s = 0.9 - 0.4 (1 - k / 5)^3 until the fifth. Part 0 is as it was built.
    expected = [1 - (0.9 - 0.4 * (1 - min(k, 5) / 5) ** 3) for k in range(10)]
    each_turn = [*shares[1:2], *shares[3::2]]
    assert each_turn == pytest.approx(expected, abs=1e-3)


def test_rewirings_too_rare_for_a_turn_are_timed_by_themselves(digits, tmp_path, monkeypatch):
    often = replace(SMALL, row="often", rewiring="set", update_every=2, stop_after=10**6)
    rare = replace(often, row="rare", update_every=1000)
    never = replace(often, row="never", update_every=1000, stop_after=999)
    rewired = []
    grow = SET.grow
    monkeypatch.setattr(SET, "grow", lambda self, *a: rewired.append(self.steps) or grow(self, *a))
    made = {
        record.setting.row: record.timing.rewirings
        for record in time_steps([rare, never, often], digits, tmp_path, steps=20)
    }
    assert [len(made[row]) for row in ("rare", "never", "often")] == [3, 0, 0]
    assert rewired.count(1000)
    assert rewired.count(2000)
    assert rewired.count(3000)
    assert all(cost >= 0 for cost in made["rare"])


def test_what_cannot_be_timed_is_recorded_and_the_rest_goes_on(digits, tmp_path):
    impossible = replace(SMALL, model="dense", rewiring="rigl")
    made = time_steps([impossible, SMALL], digits, tmp_path, steps=5)
    assert [record.status for record in made] == ["error", "ok"]
    assert "a dense model has nothing to rewire" in made[0].message

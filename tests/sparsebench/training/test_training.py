import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from sparsebench.training import at_start, checkpoint, loop
from sparsebench.training.batches import batches
from sparsebench.training.checkpoint import CheckpointError
from sparsebench.training.settings import MLPSetting
from sparsebench.training.state import Progressing
from sparselayers import structures

SPARSE = MLPSetting(
    experiment="test", row="sparse", sparsity=0.5, width=40, epochs=4, batch=32, lr=0.05,
    dataset="mnist-subset",
)  # fmt: skip


def outcome(record):
    return [(epoch.loss, epoch.accuracy) for epoch in record.epochs]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"model": "dense"},
        {"model": "masked"},
        {"activation": "kwinners"},
        {"topology": "user"},
        {"schedule": "cosine", "nesterov": True, "weight_decay": 1e-4, "output": "dense"},
        {"init": "fan_in", "output": "erdos_renyi"},
        {"topology": "small_world"},
        {"model": "masked", "rewiring": "rigl", "update_every": 5},
        {"hidden_layers": 3, "norm": "none", "init": "kaiming", "schedule": "linear"},
        {
            "topology": "receptive_fields",
            "rewiring": "chts",
            "removal": "relative",
            "hidden_layers": 2,
            "update_every": 5,
        },
        {
            "topology": "correlated",
            "rewiring": "cht",
            "score": "ch3_l3p",
            "output": "dense",
            "update_every": 9,
            "sparsity": 0.9,
        },
        {
            "rewiring": "granet",
            "annealing": "cubic",
            "initial_sparsity": 0.2,
            "update_every": 4,
            "anneal_until": 20,
        },
        {"annealing": "sigmoid", "initial_sparsity": 0.2, "update_every": 4, "anneal_until": 20},
        {"rewiring": "mest", "update_every": 4, "init": "lognormal"},
        {"rewiring": "gse", "update_every": 4},
        {"rewiring": "momentum", "update_every": 7},
        {"at_start": "snip"},
        {"structure": "8x1", "output": "dense", "rewiring": "rigl", "update_every": 5},
        {"structure": "2:4", "rewiring": "set", "update_every": 5},
    ],
)
def test_a_run_learns_and_comes_out_the_same_again(digits, silent, change):
    setting = replace(SPARSE, **change)
    record = loop.train(setting, digits, silent)
    assert record.status == "ok", record.message
    assert record.epochs[-1].loss < record.epochs[0].loss
    assert record.epochs[-1].accuracy > 0.5
    assert outcome(loop.train(setting, digits, silent)) == outcome(record)
    assert outcome(loop.train(replace(setting, seed=1), digits, silent)) != outcome(record)


@pytest.mark.parametrize(
    ("structure", "changes"),
    [
        ("8x1", {"rewiring": "rigl"}),
        ("1:2", {"rewiring": "set"}),
        ("fan-in", {"annealing": "cubic", "anneal_until": 9, "initial_sparsity": 0.25}),
        ("4x4", {"annealing": "cubic", "anneal_until": 9, "rewiring": "granet"}),
    ],
)
def test_sparse_layers_keep_the_structure_all_the_way(digits, structure, changes):
    setting = replace(
        SPARSE, structure=structure, output="dense", update_every=3, stop_after=50, **changes
    )
    training = Progressing.start(setting)
    layer = training.network.hidden
    before = layer.connectivity
    for step in range(12):
        images = digits.train_images[20 * step : 20 * step + 20]
        training.step(images, digits.train_labels[20 * step : 20 * step + 20])
        structures.named(structure).check(layer.connectivity)
    assert not layer.connectivity.equals(before)
    assert layer.sparsity == 0.5
    assert isinstance(training.network.output, nn.Linear)


@pytest.mark.parametrize("method", ["snip", "grasp", "synflow"])
def test_pruning_before_training_leaves_what_was_asked_for(digits, method, monkeypatch):
    monkeypatch.setattr(at_start, "ROUNDS", 3)
    setting = replace(SPARSE, at_start=method, output="dense", sparsity=0.9)
    samples = digits.train_images, digits.train_labels
    network = Progressing.start(setting, samples=samples).network
    assert network.hidden.weights.numel() == round(0.1 * 784 * 40)
    again = Progressing.start(setting, samples=samples).network
    assert torch.equal(network.hidden.col, again.hidden.col)
    with pytest.raises(ValueError, match=f"at_start '{method}' needs samples"):
        Progressing.start(setting)


class Killed(BaseException):
    pass


class KillsAfter:
    def __init__(self, silent, epochs):
        self.silent, self.left = silent, epochs

    def __getattr__(self, name):
        return getattr(self.silent, name)

    def epoch(self, number, epoch):
        self.left -= 1
        if not self.left:
            raise Killed


@pytest.mark.parametrize(
    "change",
    [
        {"model": "dense", "activation": "kwinners"},
        {"rewiring": "rigl", "update_every": 5, "fraction": 0.3},
        {"rewiring": "set", "update_every": 5, "fraction": 0.3},
        {"rewiring": "momentum", "update_every": 7},
        {
            "rewiring": "chts",
            "annealing": "sigmoid",
            "anneal_until": 30,
            "update_every": 5,
            "pruned_by": "relative",
            "decay": "constant",
        },
        {"at_start": "snip", "sparsity": 0.9},
    ],
)
def test_a_run_that_was_killed_ends_like_one_that_was_not(digits, silent, tmp_path, change):
    setting = replace(SPARSE, schedule="cosine", **change)
    whole = loop.train(setting, digits, silent)
    for _ in range(2):
        with pytest.raises(Killed):
            loop.train(setting, digits, KillsAfter(silent, 1), folder=tmp_path)
        torch.rand(7)  # whatever happened in between, the generators are set as they were
    resumed = loop.train(setting, digits, silent, folder=tmp_path)
    assert silent.began[1] == 2
    assert resumed.resumed == 2
    assert outcome(resumed) == outcome(whole)


@pytest.mark.parametrize(
    "change", [{}, {"momentum": 0.0}, {"nesterov": True, "weight_decay": 1e-2}]
)
def test_steps_are_those_of_plain_sgd_and_of_checkpoints_that_took_them_so(digits, change):
    """A step at once, a loop over the parameters, and one that goes on from the other's state."""
    setting = replace(SPARSE, **change)
    made = [Progressing.start(setting) for _ in range(3)]
    assert made[0].optimizer.param_groups[0]["fused"]
    made[1].optimizer.param_groups[0]["fused"] = None
    for images, labels in batches(digits, setting, 0):
        for progress in made:
            progress.step(images, labels)
        made[2].optimizer.load_state_dict(copy.deepcopy(made[1].optimizer.state_dict()))
    of_each = [dict(progress.network.named_parameters()) for progress in made]
    torch.testing.assert_close(of_each[0], of_each[1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(of_each[2], of_each[1], rtol=1e-3, atol=1e-4)


def test_a_run_that_diverges_is_recorded_as_such(digits, silent):
    record = loop.train(replace(SPARSE, lr=1e30), digits, silent)
    assert record.status == "diverged"
    assert "epoch 1 (lr 1e+30)" in record.message


def test_a_run_that_fails_is_recorded_with_the_reason(digits, silent):
    record = loop.train(replace(SPARSE, batch=301), digits, silent)
    assert record.status == "error"
    assert "batch must be at most 300, the images of mnist-subset; got 301" in record.message


def test_untimed_runs_carry_no_times(digits, silent):
    record = loop.train(replace(SPARSE, epochs=1), digits, silent, timed=False)
    assert record.timing is None
    assert record.epochs[0].seconds is None
    record = loop.train(replace(SPARSE, epochs=1), digits, silent)
    assert record.timing.samples == [record.epochs[0].seconds]
    assert record.timing.steps_per_epoch == 300 // 32


def test_every_image_of_an_epoch_comes_once_and_the_order_is_the_seeds(digits):
    setting = replace(SPARSE, batch=100)
    labels = [labels for _, labels in batches(digits, setting, 3)]
    assert torch.equal(torch.cat(labels).sort().values, digits.train_labels.sort().values)
    again = [labels for _, labels in batches(digits, setting, 3, first=1)]
    assert all(torch.equal(a, b) for a, b in zip(labels[1:], again, strict=True))
    other = [labels for _, labels in batches(digits, replace(setting, seed=1), 3)]
    assert not torch.equal(labels[0], other[0])


def test_parameters_are_counted_as_published(digits, silent):
    dense = MLPSetting(experiment="test", row="dense", model="dense", epochs=1, batch=300)
    record = loop.train(dense, digits, silent)
    assert record.parameters == 1_590_010
    sparse = loop.train(replace(dense, model="sparse"), digits, silent)
    assert (sparse.parameters, sparse.weights) == (160_810, 158_800)


def test_the_cosine_falls_from_the_rate_to_zero():
    cosine = replace(SPARSE, schedule="cosine")
    assert loop.learning_rate(cosine, 0.0) == cosine.lr
    assert loop.learning_rate(cosine, 0.5) == pytest.approx(cosine.lr / 2)
    assert loop.learning_rate(cosine, 1.0) == pytest.approx(0.0)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, SPARSE, {"epochs": []})
    with pytest.raises(CheckpointError, match=r"another run: it has width: 40 against 41; delete"):
        checkpoint.load(path, replace(SPARSE, width=41))


@pytest.mark.parametrize("keep", [0, 10, 500])
def test_a_torn_checkpoint_is_named(tmp_path, keep):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, SPARSE, {"tensor": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=f"{path} is no whole checkpoint"):
        checkpoint.load(path, SPARSE)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("sparsity", 1.0, r"sparsity must be in \[0, 1\), got 1.0"),
        ("width", 0, "width must be at least 1, got 0"),
        ("lr", 0.0, "lr must be above 0, got 0.0"),
        ("model", "spars", "model must be one of dense, masked, sparse, wide; got 'spars'"),
        ("topology", "ring", "topology must be one of random, user, small_world, .*; got 'ring'"),
        ("hidden_layers", 0, "hidden_layers must be at least 1, got 0"),
        ("randomness", 1.5, r"randomness must be in \[0, 1\], got 1.5"),
        ("topology", "correlated", "width must be a multiple of the 784 pixels, .* got 40"),
        ("rewiring", "granet", "annealing must be cubic or sigmoid with rewiring 'granet'"),
        ("pruned_by", "relative", "pruned_by must be removal where rewiring is neither cht nor"),
        ("decay", "linear", "decay must be one of cosine, constant; got 'linear'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(SPARSE, **{field: value})

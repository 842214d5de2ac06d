"""Whole models on CIFAR-10, with a small network in the place of the large ones."""

import pickle
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from sparsebench import cli
from sparsebench.errors import InputError
from sparsebench.training import checkpoint, datasets, evaluation, experiment, loop, run, settings
from sparsebench.training.checkpoint import CheckpointError
from sparsebench.training.cifar import accounts, format_records, masks, networks, schedule
from sparsebench.training.datasets import Dataset
from sparsebench.training.datasets import cifar10 as cifar
from sparsebench.training.settings import CifarSetting, SettingError
from sparsebench.training.state import Progressing
from sparsebench.training.views import formats_table, plots, tables
from sparselayers import structures
from sparselayers.convert import Decision
from sparselayers.convert.measure import Times
from sparselayers.layer import SparseLayer


def small():
    features = nn.Sequential(nn.Conv2d(3, 6, 3, stride=4, padding=1), nn.BatchNorm2d(6), nn.ReLU())
    classifier = nn.Sequential(nn.Dropout(), nn.Linear(6 * 8 * 8, 10))
    return nn.Sequential(
        OrderedDict(features=features, flatten=nn.Flatten(), classifier=classifier)
    )


@pytest.fixture
def images(monkeypatch):
    """Small images of which some colour says the class, and a small network."""
    monkeypatch.setattr(networks, "NETWORKS", dict.fromkeys(("vgg11_bn", "resnet18"), small))
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (80,), generator=generator)
    pixels = torch.randn(80, 3, 32, 32, generator=generator)
    pixels[torch.arange(80), labels % 3, 3 * labels] += 3.0
    return Dataset("cifar10-first60", pixels[:60], labels[:60], pixels[60:], labels[60:])


def made(asked, name, **changes):
    found = experiment.shipped(f"cifar-{asked}")
    (row,) = [row for row in (*found.rows, *found.timed) if row.row.startswith(name)]
    changes = {"images": 60, "batch": 20, "epochs": 4, "lr": 0.05} | changes
    return replace(row, dataset="cifar10-first60", **changes)


DENSE, MASKED, SPARSE = (made("vgg", name) for name in ("dense", "masks", "sparse"))


@pytest.fixture
def trained(images, silent, tmp_path):
    loop.train(DENSE, images, silent, folder=tmp_path)
    checkpoint.remove(checkpoint.path_of(tmp_path, DENSE))
    return tmp_path


def write_batch(path, pixels, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({"data": pixels, "labels": labels}, protocol=2))


def folder_of(tmp_path, *, batches=2):
    folder = tmp_path / "cifar-10-batches-py"
    generator = np.random.default_rng(0)
    for name in (*cifar.TRAINING[:batches], cifar.TEST):
        write_batch(folder / name, generator.integers(0, 256, (3, 3072), np.uint8), [1, 2, 9])
    return folder


def test_images_come_back_channel_by_channel_and_normalised(tmp_path):
    folder = folder_of(tmp_path)
    loaded = cifar.read_folder(folder)
    assert loaded.name == "cifar10-first6"
    assert not loaded.complete
    assert "6 of the 50,000 training images" in loaded.note
    assert loaded.train_labels.tolist() == [1, 2, 9, 1, 2, 9]
    first = pickle.loads((folder / "data_batch_1").read_bytes())["data"]
    # The pixel in row 4, column 5 of the second colour of the third image, by hand.
    expected = (first[2, 1024 + 4 * 32 + 5] / 255 - 0.4822) / 0.2435
    assert loaded.train_images[2, 1, 4, 5].item() == pytest.approx(expected, rel=1e-5)


class Harmful:
    def __reduce__(self):
        return print, ("this must not run",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no batch of CIFAR-10, or damaged"),
        (b"\x80\x02}q\x00", "no batch of CIFAR-10, or damaged"),
        (pickle.dumps(Harmful()), "it asks for builtins.print"),
        (pickle.dumps({"data": np.zeros((2, 7), np.uint8), "labels": [0, 1]}), "row of 3072 bytes"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [10]}), "labels 0 to 9"),
    ],
)
def test_a_damaged_batch_is_named_and_runs_nothing(tmp_path, capsys, content, message):
    folder = folder_of(tmp_path)
    (folder / "data_batch_2").write_bytes(content)
    with pytest.raises(ValueError, match=f"(?s){folder / 'data_batch_2'}.*{message}"):
        cifar.read_folder(folder)
    assert capsys.readouterr().out == ""


def test_missing_data_are_one_message(tmp_path):
    arguments = ["train", "cifar-vgg", "--data-dir", str(tmp_path), "--out", str(tmp_path / "out")]

    def fails(match, *more):
        with pytest.raises(InputError, match=match):
            raise CliRunner().invoke(cli.app, [*arguments, *more]).exception

    fails(f"no CIFAR10 found, looked in --data-dir: {tmp_path}")
    (folder_of(tmp_path) / "test_batch").unlink()
    fails("test_batch is missing: CIFAR10 needs data_batch_1")
    folder_of(tmp_path)
    fails("images must be 1 to 6, those of cifar10-first6; got 4000")
    fails("--width is no option of vgg11_bn; got 5", "--width", "5")
    fails("MNIST: cifar-vgg is made for images like those of CIFAR10", "--dataset", "MNIST")
    assert not (tmp_path / "out").exists()


def test_the_stages_are_those_of_the_cubic():
    # 95% − 45% · (1 − p)³ after a half and all of the epochs that prune, then two epochs of rest.
    expected = [0.5, 0.95 - 0.45 * 0.5**3, 0.95, 0.95]
    assert schedule.stages(SPARSE) == pytest.approx(expected)
    assert schedule.stages(made("resnet", "sparsify")) == [0.95] * 4


def test_masks_and_sparse_storage_are_the_same_training(images, silent, trained):
    masked, sparse = (
        loop.train(setting, images, silent, folder=trained) for setting in (MASKED, SPARSE)
    )
    assert masked.status == sparse.status == "ok", (masked.message, sparse.message)
    for one, other, level in zip(
        masked.epochs, sparse.epochs, schedule.stages(SPARSE), strict=True
    ):
        assert one.sparsity == other.sparsity == pytest.approx(level, abs=2e-3)
        assert one.losses == pytest.approx(other.losses, rel=1e-4)
        assert one.accuracy == pytest.approx(other.accuracy, abs=0.051)  # one image
    assert masked.weights == sparse.weights
    assert masked.origin == sparse.origin == DENSE.key
    held = [epoch.held for epoch in sparse.epochs]
    assert held == sorted(held, reverse=True)
    assert held[-1] < masked.epochs[-1].held / 3
    assert len({epoch.held for epoch in masked.epochs}) == 1


@pytest.mark.parametrize(
    ("structure", "sparsity", "pruning"),
    [("2x1", 0.8, "once"), ("4:8", 0.5, "gradual"), ("fan-in", 0.8, "gradual")],
)
def test_networks_are_pruned_to_a_structure_where_it_fits(
    images, silent, structure, sparsity, pruning
):
    setting = CifarSetting(
        experiment="test", row="blocks", network="resnet18", structure=structure,
        sparsity=sparsity, pruning=pruning, epochs=4, batch=20, dataset="cifar10-first60",
    )  # fmt: skip
    record = loop.train(setting, images, silent)
    assert record.status == "ok", record.message
    built = networks.build(setting, sparsity=sparsity).network
    layers = dict.fromkeys((built.features[0], built.classifier[1]))
    fitting = [layer for layer in layers if isinstance(layer, SparseLayer)]
    assert len(fitting) == (1 if structure == "4:8" else 2)  # 27 inputs are no multiple of 8
    for layer in fitting:
        structures.named(structure).check(layer.connectivity)
    dense = 0 if len(fitting) == 2 else 27 * 6
    assert record.weights == pytest.approx(
        (1 - sparsity) * (384 * 10 + 27 * 6 - dense) + dense, rel=0.02
    )


@pytest.mark.parametrize("structure", ["unstructured", "2x1"])
def test_what_was_pruned_at_once_is_rewired_while_it_is_fine_tuned(images, silent, structure):
    setting = CifarSetting(
        experiment="test", row="rigl", network="resnet18", structure=structure, sparsity=0.8,
        pruning="once", epochs=4, batch=20, dataset="cifar10-first60",
    )  # fmt: skip
    rewired = replace(setting, rewiring="rigl", update_every=2, stop_after=9, fraction=0.3)
    ended = [state_of(each, images) for each in (setting, rewired)]
    assert ended[0].rewirer.state_dict() == {}
    begun = networks.build(setting, sparsity=0.8).network
    for path, layer in begun.named_modules():
        if isinstance(layer, SparseLayer):
            fixed, moved = (run.network.get_submodule(path).connectivity for run in ended)
            assert fixed.nnz == moved.nnz
            assert torch.equal(fixed.mask(), layer.connectivity.mask())
            kept = (fixed.mask() & moved.mask()).sum() / fixed.nnz
            assert 0.3 < kept < 1
            structures.named(structure).check(moved)
    record = loop.train(rewired, images, silent)
    assert record.status == "ok", record.message


def state_of(setting, images):
    """What a setting has become after its epochs, trained by hand."""
    started = Progressing.start(setting)
    for _ in range(setting.epochs):
        for first in range(0, 60, 20):
            chosen = slice(first, first + 20)
            started.step(images.train_images[chosen], images.train_labels[chosen])
    return started


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rewiring": "rigl", "model": "masked"}, "rewiring must be none but for model 'sparse'"),
        ({"rewiring": "set", "pruning": "gradual"}, "rewiring must be none but for .* 'once'"),
        ({"fraction": 0.0}, r"fraction must be in \(0, 1\]"),
        ({"structure": "wide"}, "structure must be one that there is: structure must be blocks"),
        ({"structure": "8x1", "model": "masked"}, "structure must be unstructured but for model"),
        ({"structure": "8x1", "swap": "faster"}, "structure must be unstructured but for model"),
        ({"structure": "1:4", "sparsity": 0.9}, r"sparsity must be 0\.75 with structure 1:4"),
    ],
)
def test_structures_that_cannot_be_are_explained(changes, message):
    with pytest.raises(SettingError, match=message):
        CifarSetting(experiment="t", row="t", network="resnet18", **{"pruning": "once"} | changes)


def test_what_is_held_is_counted_by_hand():
    network = nn.Sequential(nn.Linear(20, 10))
    assert accounts.held(network, momentum=True) == 3 * 4 * 210
    masks.cover(network)  # a mask and the product of weight and mask beside them
    assert accounts.held(network, momentum=True) == 3 * 4 * 210 + 2 * 4 * 200
    masks.prune_to(network, 0.9)
    assert accounts.sparsity(network) == pytest.approx(0.9)


def test_masking_takes_the_weights_as_they_are_after_the_step():
    layer = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    network = nn.Sequential(layer)
    masks.cover(network)
    with torch.no_grad():
        layer.weight_orig.copy_(torch.tensor([[9.0, 2.0, -2.0, 0.5]]))
    assert masks.prune_to(network, 0.5) == 2
    assert layer.weight_mask.tolist() == [[1.0, 0.0, 1.0, 0.0]]  # of equal ones the first goes


class Killed(BaseException):
    pass


class KillsAfterAnEpoch:
    def __init__(self, silent):
        self.silent = silent

    def __getattr__(self, name):
        return getattr(self.silent, name)

    def epoch(self, number, epoch):
        raise Killed


@pytest.mark.parametrize("setting", [DENSE, MASKED, SPARSE, made("resnet", "sparsify")])
def test_a_run_that_was_killed_ends_like_one_that_was_not(
    images, silent, trained, monkeypatch, setting
):
    if setting.swap == "faster":
        setting = replace(setting, experiment="cifar-vgg", network="vgg11_bn")
        monkeypatch.setattr(networks, "sparsify", only_the_last_layer)
    whole = loop.train(setting, images, silent, folder=trained, timed=False)
    checkpoint.remove(checkpoint.path_of(trained, setting))
    kills = KillsAfterAnEpoch(silent)
    for _ in range(2):
        with pytest.raises(Killed):
            loop.train(setting, images, kills, folder=trained, timed=False)
        torch.rand(7)
    resumed = loop.train(setting, images, silent, folder=trained, timed=False)
    assert (whole.status, whole.resumed, resumed.resumed) == ("ok", 0, 2)
    assert resumed.epochs == whole.epochs
    assert resumed.layers == whole.layers
    assert [layer.chosen for layer in whole.layers] == ["sparse"] * (setting.swap == "faster")


def only_the_last_layer(model, example):
    """What `sparselayers.sparsify` may find on some machine."""
    times = Times(2.0, 1.0, 0.5, 0.5, 7)
    decision = Decision("classifier.1", "Linear", (10, 384), (20, 384), 0.95, times, "sparse", 1)
    sparse = networks.convert(model.classifier[1], "csr")
    new = networks.replace_modules(model, {model.classifier[1]: sparse})
    return type("Result", (), {"model": new, "decisions": (decision,)})


def test_what_is_sparse_where_it_is_faster_is_dense_elsewhere(images, monkeypatch):
    setting = made("resnet", "sparsify")
    monkeypatch.setattr(networks, "sparsify", only_the_last_layer)
    found = networks.build(setting, sparsity=0.95).network
    again = networks.build(setting, sparsity=0.95, sparse=["classifier.1"]).network
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(found.eval()(x), again.eval()(x))
    assert isinstance(again.classifier[1], SparseLayer)
    assert isinstance(again.features[0], nn.Conv2d)
    assert accounts.sparsity(again) == accounts.sparsity(found) == pytest.approx(0.95, abs=1e-2)
    assert accounts.sparsity(networks.build(DENSE).network) == 0.0


def test_what_others_start_from_has_to_be_there_and_is_trained_again(images, silent, tmp_path):
    with pytest.raises(CheckpointError, match="train that row first"):
        loop.train(SPARSE, images, silent, folder=tmp_path)
    every = [DENSE, MASKED, SPARSE]
    list(run.run([DENSE], images, tmp_path, silent))
    pending = run.pending(every, tmp_path)
    assert run.with_starts(pending, every, tmp_path) == [MASKED, SPARSE]
    path = schedule.trained_path(tmp_path, SPARSE)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=f"{path} is no whole checkpoint"):
        loop.train(SPARSE, images, silent, folder=tmp_path)
    path.unlink()
    assert run.with_starts(pending, every, tmp_path) == every


def test_every_stage_is_timed(images, tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "find_spec", lambda name: None)
    monkeypatch.setattr(networks, "sparsify", only_the_last_layer)
    timed = schedule.to_time([DENSE, MASKED, SPARSE])
    levels = ["50.0%", "89.4%", "95.0%"]
    assert [setting.row.rpartition(", ")[2] for setting in timed] == ["dense", "95.0%", *levels]
    resnet = [made("resnet", "sparsify"), made("resnet", "SparseProp")]
    found = training_times(images, tmp_path, [*timed, *resnet])
    assert [record.status for record in found] == ["ok"] * 6 + ["unsupported"]
    assert "sparseprop is not installed: pip install" in found[-1].message
    assert all(len(record.timing.samples) == 10 for record in found[:-1])
    weights = [record.weights for record in found[2:5]]
    assert weights == sorted(weights, reverse=True)
    assert [layer.path for layer in found[5].layers] == ["classifier.1"]


def test_steps_are_of_the_images_that_are_trained_on(images, tmp_path):
    (record,) = training_times(images, tmp_path, [replace(DENSE, images=40, held_out=10)])
    assert record.timing.steps_per_epoch == 2  # 40 of the 50 that are left, 20 at a time
    assert (record.train_images, record.test_images) == (40, 10)


def training_times(images, folder, settings):
    from sparsebench.training.step_times import time_steps

    return time_steps(settings, images, folder, steps=10)


def test_tables_and_plot_put_masks_and_sparse_storage_side_by_side(images, silent, trained):
    every = [DENSE, MASKED, SPARSE]
    records = [loop.train(setting, images, silent, folder=trained) for setting in every]
    steps = records[0].timing.model_copy(update={"steps": 2, "samples": [0.4, 0.6, 0.8]})
    half = steps.model_copy(update={"samples": [0.2]})
    for record, timing in ((records[0], steps), (records[2], half)):
        records.append(record.model_copy(update={"purpose": "time", "timing": timing}))
    made = {table.name: table for table in tables.of_training(records)}
    assert set(made) == {"cifar-vgg", "cifar-vgg-epochs"}
    assert "first 60 images of CIFAR-10's 50,000, tested on 20 of its" in made["cifar-vgg"].caption
    rows_by_name = made["cifar-vgg"].text.set_index("row")
    assert rows_by_name.loc["dense", "ms a step"] == "300"
    assert rows_by_name.loc["sparse storage", "over dense"] == "3.0×"
    assert rows_by_name.loc[MASKED.row, "over dense"] == "not measured"
    epochs = made["cifar-vgg-epochs"].text
    assert epochs["sparsity"].str[:2].tolist() == ["50", "89", "95", "95"]
    assert " → " in epochs["held"][3]
    assert [name for name, _ in plots.of_training(records)] == ["cifar-vgg"]


def test_what_pruned_networks_regain_is_drawn_against_their_minutes(images, silent, trained):
    dense, masked, sparse = (
        loop.train(setting, images, silent, folder=trained) for setting in (DENSE, MASKED, SPARSE)
    )
    once = sparse.setting.columns | {"row": "16x1", "structure": "16x1", "pruning": "once"}
    steps = sparse.timing.model_copy(update={"steps": 1, "samples": [30.0], "steps_per_epoch": 2})
    alone = {"setting": settings.read(once), "timing": steps}
    blocks = sparse.model_copy(update=alone | {"epochs": [
        epoch.model_copy(update={"seconds": None, "accuracy": 0.125 * number})
        for number, epoch in enumerate(sparse.epochs)
    ]})  # fmt: skip
    drawn = dict(plots.of_training([dense, masked, sparse, blocks]))
    assert list(drawn) == ["cifar-vgg", "cifar-vgg-recovery"]
    (axes,) = drawn["cifar-vgg-recovery"].axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines)[:3] == [MASKED.row, SPARSE.row, "16x1"]
    assert lines["16x1"].get_xdata().tolist() == [1.0, 2.0, 3.0, 4.0]
    assert lines["16x1"].get_ydata().tolist() == [0.0, 12.5, 25.0, 37.5]
    untimed = dense.model_copy(update={"timing": None})
    alone = [run.model_copy(update={"purpose": "time", "timing": steps.model_copy(
        update={"samples": [15.0]})}) for run in (dense, blocks)]  # fmt: skip
    every = tables.of_training([untimed, blocks, *alone])
    (table,) = [table for table in every if table.name == "cifar-vgg"]
    assert table.text.set_index("row")["training"].tolist() == ["2.0 min", "4.0 min"]
    seconds = [epoch.seconds for epoch in sparse.epochs]
    assert lines[SPARSE.row].get_xdata()[-1] == pytest.approx(sum(seconds) / 60)


@pytest.mark.usefixtures("undrawn")
def test_the_report_counts_every_format_and_times_it(images, trained, monkeypatch, tmp_path):
    images = replace(images, name="cifar10-first60")
    monkeypatch.setattr(datasets, "load", lambda *_, **__: images)
    asked = replace(experiment.shipped("cifar-vgg"), rows=(DENSE,))
    monkeypatch.setattr(experiment, "shipped", lambda name: asked)
    trained.rename(trained.parent / "cifar-vgg")
    out = trained.parent / "report"
    arguments = ["train", "cifar-report", "--threads", "1", "--out", str(out)]
    assert CliRunner().invoke(cli.app, arguments).exit_code == 0
    records = format_records.load(out)
    assert [record.sparsity for record in records] == [0.0, 0.5, 0.8, 0.9, 0.95, 0.98]
    last = records[-1].held
    nnz = round(0.02 * 3840)
    assert last["classifier dense"] == 4 * 3840 + 4 * 10
    assert last["classifier coo"] == nnz * (4 + 2 * 8) + 4 * 10
    assert last["classifier csr"] == nnz * (4 + 8) + 8 * 11 + 4 * 10
    assert last["classifier sparse"] == nnz * (4 + 2) + 4 * 11 + 4 * 10  # columns in 16 bits
    assert all(len(samples) == 5 for r in records for samples in r.seconds.values())
    dense = networks.build(DENSE, start=schedule.start_of(
        trained.parent / "cifar-vgg", SPARSE).state).network  # fmt: skip
    assert records[0].accuracy == evaluation.accuracy(dense, images)
    assert records[0].origin == DENSE.key
    assert [table.name for table in formats_table.of(records)] == [
        "cifar-report-memory", "cifar-report-time",
    ]  # fmt: skip
    again = CliRunner().invoke(cli.app, arguments)
    assert again.exit_code == 0
    assert len(format_records.load(out)) == 6

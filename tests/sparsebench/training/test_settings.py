"""Settings as records and checkpoints have them, those of before among them."""

from dataclasses import replace

import pytest
import torch

from sparsebench.training import checkpoint, settings
from sparsebench.training.records import TrainingRecord
from sparsebench.training.settings import (
    COLUMNS,
    CifarSetting,
    GPTSetting,
    MLPSetting,
    SettingError,
)

MLP = MLPSetting(experiment="test", row="sparse", width=30, rewiring="set", images=7)
CIFAR = CifarSetting(experiment="test", row="dense", model="dense", network="resnet18", batch=5)
GPT = GPTSetting(experiment="test", row="sparse", layers=2, seconds=9.0, sparse_blocks="0")


@pytest.mark.parametrize("setting", [MLP, CIFAR, GPT])
def test_what_is_written_has_every_column_and_is_read_back(setting):
    assert list(setting.columns) == list(COLUMNS)
    assert settings.read(setting.columns) == setting
    record = TrainingRecord(setting=setting)
    assert TrainingRecord.model_validate_json(record.model_dump_json()) == record
    assert list(record.model_dump()["setting"]) == list(COLUMNS)


def test_older_records_without_later_columns_are_settings_of_the_mlp():
    later = ("processes", "network", "pruning", "swap", "start", "images")
    old = {name: value for name, value in MLP.columns.items() if name not in later}
    assert settings.read(old) == replace(MLP, images=0)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (3, "a setting has columns, and this is 3"),
        (
            MLP.columns | {"network": "x"},
            r"network must be one of mlp, .*, gpt; got 'x'",
        ),
        (MLP.columns | {"lr": "fast"}, "lr: Input should be a valid number"),
        (MLP.columns | {"lr": 0.0}, "lr must be above 0, got 0.0"),
        (CIFAR.columns | {"width": 5}, "resnet18 has no width to be 5"),
        (CIFAR.columns | {"new": 5}, "resnet18 has no new to be 5"),
        ({"row": "sparse"}, "experiment: Field required"),
    ],
)
def test_what_is_no_setting_is_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        settings.read(columns)


def test_a_key_has_the_fields_of_the_transformer_where_there_are_some():
    assert " layers=2 heads=4 context=128 ff_width=1024 sparse_blocks=0 seconds=9.0 " in GPT.key
    assert "layers" not in MLP.key.replace("hidden_layers", "")


def test_differences_are_told_between_networks_too():
    assert "network: 'mlp' against 'resnet18'" in MLP.differences(CIFAR)
    assert "width: 30 against 2000" in MLP.differences(CIFAR)


@pytest.mark.parametrize("setting", [MLP, CIFAR])
def test_a_checkpoint_of_before_goes_on(tmp_path, setting):
    """It has all columns, whatever the network, as one dataclass had them."""
    content = {"format": 1, "setting": dict(setting.columns), "random": torch.get_rng_state()}
    torch.save(content | {"epochs": []}, tmp_path / "old.pt")
    assert checkpoint.load(tmp_path / "old.pt", setting)["epochs"] == []


STRUCTURED = {"experiment": "test", "row": "blocks", "structure": "8x1", "output": "dense"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"structure": "wide"}, "structure must be one that fits: structure must be blocks such"),
        ({"output": "sparse"}, r"one that fits: blocks of 8 × 1 .* \(10, 2000\): its 10 outputs"),
        ({"width": 1001}, "its 1001 outputs are no multiple of 8"),
        ({"structure": "2:5"}, "its 784 inputs are no multiple of M = 5"),
        ({"structure": "1:4"}, r"sparsity must be one that 1:4 has: .* a sparsity of 0\.75"),
        ({"structure": "1:4", "sparsity": 0.8}, r"sparsity must be 0\.75 with structure 1:4"),
        ({"structure": "784x1", "width": 784, "sparsity": 0.9999}, "one that 784x1 has: "),
        ({"rewiring": "gse"}, "rewiring must be one of none, rigl, set, .* with a structure"),
        ({"topology": "small_world"}, "topology must be random, with a structure"),
        ({"model": "masked"}, "model must be sparse, with a structure"),
        ({"at_start": "snip"}, "at_start must be none, with a structure"),
        ({"output": "erdos_renyi"}, "output must be sparse or dense, with a structure"),
        (
            {"structure": "fan-in", "annealing": "cubic", "anneal_until": 9, "rewiring": "set"},
            "rewiring must be none with annealing and structure fan-in",
        ),
    ],
)
def test_a_structure_that_cannot_be_is_explained(changes, message):
    with pytest.raises(SettingError, match=message):
        MLPSetting(**STRUCTURED | changes)


def test_a_structure_is_part_of_a_key_where_there_is_one():
    structured = MLPSetting(**STRUCTURED)
    plain = replace(structured, structure="unstructured")
    assert structured.key == f"{plain.key} structure=8x1"
    assert settings.read(structured.columns) == structured
    assert MLPSetting(experiment="test", row="sparse").sparse_shapes == [(2000, 784), (10, 2000)]

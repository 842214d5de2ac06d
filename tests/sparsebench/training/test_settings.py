"""Settings as records and checkpoints have them, those of before among them."""

from dataclasses import replace

import pytest
import torch

from sparsebench.training import checkpoint, settings
from sparsebench.training.records import TrainingRecord
from sparsebench.training.settings import COLUMNS, CifarSetting, MLPSetting

MLP = MLPSetting(experiment="test", row="sparse", width=30, rewiring="set", images=7)
CIFAR = CifarSetting(experiment="test", row="dense", model="dense", network="resnet18", batch=5)


@pytest.mark.parametrize("setting", [MLP, CIFAR])
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
        (MLP.columns | {"network": "x"}, "network must be one of mlp, vgg11_bn, resnet18; got 'x'"),
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


def test_differences_are_told_between_networks_too():
    assert "network: 'mlp' against 'resnet18'" in MLP.differences(CIFAR)
    assert "width: 30 against 2000" in MLP.differences(CIFAR)


@pytest.mark.parametrize("setting", [MLP, CIFAR])
def test_a_checkpoint_of_before_goes_on(tmp_path, setting):
    """It has all columns, whatever the network, as one dataclass had them."""
    content = {"format": 1, "setting": dict(setting.columns), "random": torch.get_rng_state()}
    torch.save(content | {"epochs": []}, tmp_path / "old.pt")
    assert checkpoint.load(tmp_path / "old.pt", setting)["epochs"] == []

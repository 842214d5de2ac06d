"""`sparsebench sparsify` on models small enough for a test."""

import json

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from sparsebench.cli import app
from sparsebench.commands.sparsify import load, pruned
from sparsebench.errors import InputError
from sparselayers.layer import SparseLayer


def tiny():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))


def not_a_model():
    return 3


HERE = "tests.sparsebench.commands.test_sparsify_command"


@pytest.mark.parametrize("options", [[], ["--inference"], ["--distribution", "erk"]])
def test_a_table_and_the_whole_model(options):
    arguments = ["sparsify", f"{HERE}:tiny", "--input", "4,3,8,8", "--sparsity", "0.9"]
    result = CliRunner().invoke(app, [*arguments, "--seconds", "0", *options])
    assert result.exit_code == 0, result.output
    for part in ("dense ms", "chosen", "8×3×3×3", "whole model", "parameters", "peak above"):
        assert part in result.output


def test_pruned_models_are_dense_with_zeros():
    model = pruned(tiny(), 0.9, "uniform")
    assert [type(layer) for layer in model] == [nn.Conv2d, nn.ReLU, nn.Flatten, nn.Linear]
    for layer in (model[0], model[3]):
        assert int(layer.weight.count_nonzero()) == round(0.1 * layer.weight.numel())


def test_torchvision_by_name():
    with torch.device("meta"):
        assert type(load("torchvision:resnet18")).__name__ == "ResNet"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18", "expected torchvision:NAME or MODULE:FUNCTION"),
        ("torchvision:resnet19", "torchvision has no model 'resnet19'; it has .*resnet18"),
        ("no_such_module:model", "No module named 'no_such_module'"),
        (f"{HERE}:huge", "has no attribute 'huge'"),
        (f"{HERE}:not_a_model", r"returned a int, not a torch\.nn\.Module"),
    ],
)
def test_bad_names(name, message):
    with pytest.raises(InputError, match=message):
        load(name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--input", "4,3,x"], "--input must be positive integers"),
        (["--input", "4,2,8,8"], "channels"),
        (["--input", "4,3,8,8", "--sparsity", "2"], "sparsity must be in"),
        (["--input", "4,3,8,8", "--sparsity", "0.9", "--distribution", "even"], "distribution"),
        (["--input", "4,3,8,8", "--criterion", "speed"], "criterion must be one of"),
        (["--input", "4,3,8,8", "--threads", "0"], "--threads must be at least 1"),
    ],
)
def test_bad_options(options, message):
    result = CliRunner().invoke(app, ["sparsify", f"{HERE}:tiny", *options])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


def arguments(*options):
    return ["sparsify", f"{HERE}:tiny", "--input", "4,3,8,8", "--seconds", "0", *options]


@pytest.mark.parametrize("wrapped", [None, "state_dict", "model"])
def test_a_checkpoint_is_read_and_what_was_made_is_saved(wrapped, tmp_path):
    trained = pruned(tiny(), 0.95, "uniform")
    state = trained.state_dict()
    torch.save(state if wrapped is None else {wrapped: state, "epoch": 3}, tmp_path / "in.pt")
    options = ("--checkpoint", str(tmp_path / "in.pt"), "--save", str(tmp_path / "out.pt"))
    result = CliRunner().invoke(app, arguments("--inference", "--criterion", "memory", *options))
    assert result.exit_code == 0, result.output
    assert "of the time of dense" in result.output
    made = torch.load(tmp_path / "out.pt", weights_only=False)
    assert any(isinstance(m, SparseLayer) for m in made.modules())
    x = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(made(x), trained(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"not a checkpoint", "cannot be read"),
        ({"epoch": 3}, "holds no state dict, nor one under state_dict"),
        ({"0.weight": torch.zeros(2)}, "0.weight"),
    ],
)
def test_a_checkpoint_that_is_none_is_named(content, message, tmp_path):
    path = tmp_path / "in.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    result = CliRunner().invoke(app, arguments("--checkpoint", str(path)))
    assert isinstance(result.exception, InputError)
    assert str(path) in str(result.exception)
    assert message in str(result.exception)


def test_json():
    arguments = ["sparsify", f"{HERE}:tiny", "--input", "4,3,8,8", "--sparsity", "0.9"]
    result = CliRunner().invoke(app, [*arguments, "--seconds", "0", "--json"])
    answer = json.loads(result.stdout)
    assert [layer["path"] for layer in answer["layers"]] == ["0", "3"]
    assert answer["layers"][0]["sparsity"] == pytest.approx(0.9, abs=0.01)
    assert answer["model"]["before"]["time_s"] > 0
    assert answer["model"]["before"]["held"] == 4 * sum(p.numel() for p in tiny().parameters())

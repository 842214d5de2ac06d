"""`sparsebench sparsify` on models small enough for a test."""

import json
import os
import signal
import sys

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from sparsebench.cli import app
from sparsebench.errors import InputError
from sparsebench.models import architectures, checkpoints, crashes, measure, pruning
from sparsebench.models.asked import Asked
from sparselayers.layer import SparseLayer
from sparselayers.saved import load_pretrained


def tiny():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))


def not_a_model():
    return 3


class Mixed(nn.Module):
    """A layer of every kind that can be sparse, and of some that cannot."""

    def __init__(self, width=16):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.conv = nn.Conv1d(width, width, 3, padding=1)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        x = self.attention(x, x, x, need_weights=False)[0]
        return self.head(self.lstm(self.conv(x.transpose(1, 2)).transpose(1, 2))[0])


def broken():
    return nn.Linear(1, 1 // 0)


def pruned(model, sparsity, distribution="uniform"):
    pruning.prune(model, sparsity, distribution)
    return model


def a_step_that_ends_the_process(asked, phase, threads):
    os.kill(os.getpid(), signal.SIGSEGV)


HERE = "tests.sparsebench.commands.test_sparsify_command"


@pytest.mark.parametrize("options", [[], ["--inference"], ["--distribution", "erk"]])
def test_a_table_and_the_whole_model(options):
    arguments = ["sparsify", f"{HERE}:tiny", "--input", "4,3,8,8", "--sparsity", "0.9"]
    result = CliRunner().invoke(app, [*arguments, "--seconds", "0", *options])
    assert result.exit_code == 0, result.output
    for part in ("dense ms", "chosen", "8×3×3×3", "Whole model", "parameters", "peak above"):
        assert part in result.output
    for form in ("dense", "masked", "sparse", "SparseProp", "checkpoint"):
        assert form in result.output


def test_every_kind_of_layer_is_pruned_and_measured():
    options = ("--input", "2,5,24", "--config", "width=24", "--sparsity", "0.9", "--seconds", "0")
    result = CliRunner().invoke(app, ["sparsify", f"{HERE}:Mixed", *options, "--inference"])
    assert result.exit_code == 0, result.output
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        assert f"attention.{name}" in result.output
    assert "24×24×3" in result.output
    assert "lstm: not measured: there is no sparse recurrent layer" in result.output


def test_another_library_that_ends_the_process_does_not_end_the_command(monkeypatch):
    monkeypatch.setattr(crashes.variants, "why_no_sparseprop", lambda example: "")
    monkeypatch.setattr(crashes, "_one_step", a_step_that_ends_the_process)
    monkeypatch.setattr(measure, "sparseprop", lambda dense, example: pytest.fail("was made here"))
    options = ("--input", "4,3,8,8", "--sparsity", "0.9", "--seconds", "0", "--inference")
    result = CliRunner().invoke(app, ["sparsify", f"{HERE}:tiny", *options])
    assert result.exit_code == 0, result.output
    assert "sparseprop: the process was killed by SIGSEGV" in result.output


@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_model_is_made_again_as_it_was(tmp_path, checkpoint):
    """As the process does that tries another library's form of it."""
    torch.save(tiny().state_dict(), tmp_path / "weights.pt")
    file = tmp_path / "weights.pt" if checkpoint else None
    model = Asked(f"{HERE}:tiny", (4, 3, 8, 8), {}, 7, file, 0.9, "uniform")
    first, second = model.make(), model.make()
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(first.example, second.example)


def test_a_model_that_is_not_sparse_enough_is_told_so():
    result = CliRunner().invoke(app, ["sparsify", f"{HERE}:tiny", "--input", "4,3,8,8"])
    assert result.exit_code == 0, result.output
    assert "0: not measured: 0.0% of its weights are zero, measured from 80% on" in result.output
    assert "No layer was measured: the model is as it was." in result.output


def test_a_module_in_the_current_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])  # as a script has it
    (tmp_path / "a_module_of_mine.py").write_text(
        "from torch import nn\n\n\ndef make():\n    return nn.Linear(3, 2)\n"
    )
    made = architectures.make("a_module_of_mine:make", shape=(4, 3))
    assert made.model(made.example).shape == (4, 2)


def test_torchvision_by_name():
    made = architectures.make("torchvision:resnet18", shape=(1, 3, 8, 8))
    assert type(made.model).__name__ == "ResNet"
    assert made.example.shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18", "expected torchvision:NAME, timm:NAME, transformers:TYPE or MODULE:FUNCTION"),
        ("torchvision:resnet19", r"has no model 'resnet19'; it has (\w+, )*resnet18"),
        ("torchvision:xyzzy", r"has no model 'xyzzy'; torchvision.models.list_models\(\) has all"),
        ("no_such_module:model", "No module named 'no_such_module'"),
        (f"{HERE}:huge", "has no attribute 'huge'"),
        (f"{HERE}:not_a_model", r"returned a int, not a torch\.nn\.Module"),
        (f"{HERE}:broken", "cannot be made: ZeroDivisionError: "),
        (f"{HERE}:tiny", "the shape of its input is needed"),
    ],
)
def test_bad_names(name, message):
    with pytest.raises(InputError, match=message):
        architectures.make(name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--input", "4,3,x"], "--input must be positive integers"),
        (["--input", "4,2,8,8"], "channels"),
        (["--input", "4,3,8,8", "--sparsity", "2"], "sparsity must be in"),
        (["--input", "4,3,8,8", "--sparsity", "0.9", "--distribution", "even"], "distribution"),
        (["--input", "4,3,8,8", "--criterion", "speed"], "criterion must be one of"),
        (["--input", "4,3,8,8", "--threads", "0"], "--threads must be at least 1"),
        (["--input", "4,3,8,8", "--config", "width"], "--config must be NAME=VALUE"),
        (["--input", "4,3,8,8", "--config", "width=3"], "unexpected keyword argument 'width'"),
        (["--input", "4,3"], "sparsify_command:tiny: RuntimeError:"),
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
    pytest.importorskip("safetensors")
    trained = pruned(tiny(), 0.95).eval()
    state = trained.state_dict()
    torch.save(state if wrapped is None else {wrapped: state, "epoch": 3}, tmp_path / "in.pt")
    options = ("--checkpoint", str(tmp_path / "in.pt"), "--save", str(tmp_path / "out"))
    result = CliRunner().invoke(app, arguments("--inference", "--criterion", "memory", *options))
    assert result.exit_code == 0, result.output
    made = load_pretrained(tmp_path / "out", tiny)
    assert any(isinstance(m, SparseLayer) for m in made.modules())
    assert f"The sparse model is in {tmp_path / 'out'}: " in result.stderr
    x = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(made(x), trained(x), rtol=1e-4, atol=1e-5)


def test_a_model_that_is_not_saved_has_been_shown(tmp_path):
    """Nothing of it is sparse enough: there is nothing to save, and minutes are not lost."""
    pytest.importorskip("safetensors")
    options = ("--input", "4,3,8,8", "--seconds", "0", "--save", str(tmp_path / "out"))
    result = CliRunner().invoke(app, ["sparsify", f"{HERE}:tiny", *options])
    assert isinstance(result.exception, InputError)
    assert "the model has no sparse layers" in str(result.exception)
    assert "Whole model" in result.output


@pytest.mark.parametrize(
    ("missing", "message"), [(True, "safetensors is needed"), (False, "is a file")]
)
def test_a_place_where_nothing_can_be_saved_is_refused_before_measuring(
    missing, message, tmp_path, monkeypatch
):
    pytest.importorskip("safetensors")
    (tmp_path / "out").touch()
    if missing:
        monkeypatch.setitem(sys.modules, "safetensors", None)
    result = CliRunner().invoke(app, ["sparsify", "no:model", "--save", str(tmp_path / "out")])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"not a checkpoint", "no checkpoint of torch.save"),
        ({"epoch": 3}, "holds no state dict, nor one in a training's state"),
        ({"0.weight": torch.zeros(2)}, "tensor 0.weight: has shape (2,), and the model's (8, 3,"),
        (tiny().state_dict() | {"4.bias": torch.zeros(2)}, "has a tensor 4.bias, which the model"),
        (tiny()[:3].state_dict(), "has no tensor 3.weight"),
        (tiny().state_dict() | {"3.bias": torch.full((10,), torch.nan)}, "not finite"),
        (tiny(), "holds pickled code (torch.nn.modules.container.Sequential), which is never run"),
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


def normed():
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))


def test_a_model_that_fails_in_training_alone():
    """Its example is good in evaluation, in which layers are found, and in inference."""
    options = ("--input", "1,8", "--sparsity", "0.9", "--seconds", "0")
    result = CliRunner().invoke(app, ["sparsify", f"{HERE}:normed", *options])
    assert isinstance(result.exception, InputError)
    assert "normed: ValueError: Expected more than 1 value per channel" in str(result.exception)


def test_json():
    arguments = ["sparsify", f"{HERE}:tiny", "--input", "4,3,8,8", "--sparsity", "0.9"]
    result = CliRunner().invoke(app, [*arguments, "--seconds", "0", "--json"])
    answer = json.loads(result.stdout)
    assert [layer["path"] for layer in answer["layers"]] == ["0", "3"]
    for layer in answer["layers"]:
        assert bool(layer["reason"]) == (layer["chosen"] == "dense")
    assert answer["notes"] == [] or "disturbed" in answer["notes"][0]
    assert answer["layers"][0]["sparsity"] == pytest.approx(0.9, abs=0.01)
    dense, sparse = answer["model"]["dense"], answer["model"]["sparse"]
    assert min(dense["time_s"], sparse["time_s"], sparse["checkpoint"]) > 0
    assert dense["held"] == 4 * sum(p.numel() for p in tiny().parameters())
    assert answer["model"]["sparse"]["over_dense"].keys() == {"value", "low", "high"}


def test_a_checkpoint_that_is_being_pruned_or_was_compiled(tmp_path):
    """`weight_orig` and `weight_mask` are a weight; prefixes of wrappers are none of the model."""
    from torch.nn.utils import prune

    model = tiny()
    prune.l1_unstructured(model[3], "weight", 0.9)
    state = {f"_orig_mod.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save(state, tmp_path / "in.pt")
    restored = tiny()
    checkpoints.restore(restored, tmp_path / "in.pt")
    assert torch.equal(restored[3].weight, model[3].weight)

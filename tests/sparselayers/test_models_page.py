"""The examples of docs/guides/models.md run as they are, one after the other; its TOML is read."""

import re
from pathlib import Path

import pytest
import torch

import sparselayers as sl
from sparsebench.cases.files import File
from sparsebench.models import experiment
from sparsebench.models.experiment import Experiment

TEXT = (Path(__file__).parents[2] / "docs" / "guides" / "models.md").read_text("utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec("\n".join(blocks("python")), names)
    model, result, again = (
        names["model"].eval(),
        names["result"].model.eval(),
        names["again"].eval(),
    )
    assert "layer4.1.conv2" in capsys.readouterr().out
    images = names["images"]
    torch.testing.assert_close(again(images), result(images))
    torch.testing.assert_close(names["dense"].eval()(images), model(images))
    torch.testing.assert_close(result(images), model(images), atol=1e-4, rtol=1e-4)
    assert not any(isinstance(m, sl.SparseConv2d) for m in names["dense"].modules())


def test_its_file_of_models_is_read():
    (text,) = blocks("toml")
    asked = Experiment.model_validate(File("models.md", text).content())
    assert [case.model for case in asked.cases(threads=1)][::2] == [m.name for m in asked.models]


def test_the_files_that_it_names_are_shipped():
    assert {f"sparsebench models {name} " in TEXT for name in experiment.names()} == {True}

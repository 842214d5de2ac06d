"""What is said where torchvision is missing, or does not belong to this PyTorch."""

import importlib
import sys

import pytest

from sparsebench import datafolders, vision
from sparsebench.errors import InputError
from sparsebench.models import architectures
from sparsebench.training import datasets


@pytest.fixture
def without(monkeypatch):
    for name in ("torchvision", "torchvision.models", "torchvision.datasets"):
        monkeypatch.setitem(sys.modules, name, None)


def test_a_model_by_name_names_the_library_and_what_to_install(without):
    with pytest.raises(InputError, match=r"torchvision cannot be imported \(.*\): install the one"):
        architectures.make("torchvision:resnet18")


def test_one_for_another_pytorch_is_told_from_one_that_is_missing(monkeypatch):
    def load(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(importlib, "import_module", load)
    with pytest.raises(InputError, match=r"nms does not exist.*belongs to PyTorch"):
        vision.part("models")


def test_digits_that_cannot_be_downloaded_are_the_embedded_ones(without, monkeypatch, tmp_path):
    monkeypatch.delenv("SPARSEBENCH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datafolders, "cache", lambda: tmp_path / "cache")
    found = datasets.load("MNIST")
    assert found.name == "mnist-subset"
    assert "torchvision cannot be imported" in found.note
    with pytest.raises(
        FileNotFoundError, match=r"no CIFAR10 found.*torchvision cannot be imported"
    ):
        datasets.load("CIFAR10")

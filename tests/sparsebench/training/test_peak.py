"""The peak memory of training repeats, and is that of the arithmetic."""

from dataclasses import replace

import pytest
import torch

from sparsebench.measuring import isolation
from sparsebench.training import loop
from sparsebench.training.datasets import Dataset
from sparsebench.training.peak import peak_of
from sparsebench.training.settings import MLPSetting
from sparsebench.training.warm_up import warm_up

DENSE = MLPSetting(
    experiment="", row="x", model="dense", sparsity=0.0, width=600, batch=16, threads=1
)
SPARSE = replace(DENSE, model="sparse", sparsity=0.9)
WEIGHTS = 4 * 600 * 794


def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(200, 784, generator=generator)
    labels = torch.randint(10, (200,), generator=generator)
    return Dataset("made-up", images, labels, images, labels)


def taken(setting, *, after_others):
    """Take the peak in a process that has done nothing before, or has."""
    warm_up(setting)
    if after_others:  # leaves holes of all sizes in the heap, as other rows do
        kept = [torch.ones(256 * size) for size in range(1, 1000)]
        del kept[::2]
    return peak_of(setting, data())[0]


@pytest.mark.parametrize("setting", [DENSE, SPARSE, replace(SPARSE, rewiring="rigl")])
def test_two_runs_agree(setting):
    first, second = (
        isolation.call(_taken, setting, after, timeout_s=600) for after in (False, True)
    )
    assert first == pytest.approx(second, rel=0.05)


def _taken(setting, after_others):
    return taken(setting, after_others=after_others)


def test_it_is_weights_gradients_and_momentum():
    peak = isolation.call(_taken, DENSE, False, timeout_s=600)
    assert 3 * WEIGHTS <= peak <= 4.5 * WEIGHTS


def test_sparse_layers_take_less():
    dense, sparse = (isolation.call(_taken, s, False, timeout_s=600) for s in (DENSE, SPARSE))
    assert sparse < dense / 2


def test_a_run_has_it(silent, monkeypatch):
    monkeypatch.setattr(loop, "peak_of", peak_of)
    record = loop.train(replace(DENSE, width=20, epochs=1), data(), silent)
    assert record.peak_memory > 3 * WEIGHTS / 30
    assert "of building, 4 steps" in record.memory_method


def test_training_goes_on_as_if_nothing_had_been_measured():
    torch.manual_seed(3)
    expected = torch.randn(3)
    torch.manual_seed(3)
    peak_of(replace(DENSE, width=20), data())
    assert torch.equal(torch.randn(3), expected)

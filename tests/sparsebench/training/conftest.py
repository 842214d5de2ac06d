import pytest
import torch

from sparsebench.training import loop
from sparsebench.training.datasets import Dataset
from sparsebench.training.views import folder


class Silent:
    """Shows nothing; remembers how the last run began."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def begin(self, setting, *, epochs_done, steps_per_epoch):
        self.began = setting, epochs_done, steps_per_epoch

    def step(self):
        pass

    def epoch(self, number, epoch):
        pass


@pytest.fixture
def silent():
    return Silent()


@pytest.fixture(autouse=True)
def _peak(monkeypatch):
    """Peaks of runs are not taken, each by training more than the run does: see test_peak.py."""
    monkeypatch.setattr(loop, "peak_of", lambda setting, data: (1, "made up"))


@pytest.fixture
def undrawn(monkeypatch):
    """Let commands draw their plots and write none: other tests look at files of pictures."""
    monkeypatch.setattr(folder, "save", lambda figure, path: [])


@pytest.fixture
def digits():
    return make_digits()


def make_digits():
    """A learnable stand-in for digits: the class is where the bright pixels are."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (400,), generator=generator)
    images = 0.5 * torch.randn(400, 784, generator=generator)
    for bright in range(7):
        images[torch.arange(400), 70 * labels + 10 * bright] += 3.0
    return Dataset("mnist-subset", images[:300], labels[:300], images[300:], labels[300:])

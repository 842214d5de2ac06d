"""What the test data say of a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.training.datasets import Data, Dataset, Text
from sparsebench.training.processes import ALONE, Processes
from sparsebench.training.settings import GPTSetting, Setting
from sparsebench.training.text import windows
from sparsebench.training.text.testing import predictions

TEST_BATCH = 250


def evaluate(
    network: nn.Module, data: Data, setting: Setting, processes: Processes = ALONE
) -> dict[str, Any]:
    """Return the fields of an Epoch that `network` is judged by, its metric among them."""
    if isinstance(data, Text):
        assert isinstance(setting, GPTSetting)
        return predictions(network, data, setting)
    return {"accuracy": accuracy(network, data, processes)}


def one_batch(data: Data, setting: Setting) -> Tensor:
    """Return what a network is given at once in a test."""
    if isinstance(data, Text):
        assert isinstance(setting, GPTSetting)
        return next(windows.tested_windows(data, setting))[0]
    return data.test_images[:TEST_BATCH]


@torch.no_grad()
def accuracy(network: nn.Module, data: Dataset, processes: Processes = ALONE) -> float:
    """Return the fraction of all test images that `network` classifies correctly.

    Each process looks at a part of them.
    """
    network.eval()
    images, labels = processes.part(data.test_images), processes.part(data.test_labels)
    right = torch.zeros((), dtype=torch.int64, device=labels.device)
    for start in range(0, len(labels), TEST_BATCH):
        some = slice(start, start + TEST_BATCH)
        right += (network(images[some]).argmax(1) == labels[some]).sum()
    network.train()
    return int(processes.ranks.sum(right)) / len(data.test_labels)

"""What the test data say of a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sparsebench.training.datasets import Dataset
from sparsebench.training.processes import ALONE, Processes

TEST_BATCH = 250


def evaluate(network: nn.Module, data: Dataset, processes: Processes = ALONE) -> dict[str, Any]:
    """Return the fields of an Epoch that `network` is judged by, its metric among them."""
    return {"accuracy": accuracy(network, data, processes)}


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

"""How well a network predicts the characters of a text."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from sparsebench.training.datasets import Text
from sparsebench.training.settings import GPTSetting
from sparsebench.training.text.windows import tested_windows


@torch.no_grad()
def predictions(network: nn.Module, data: Text, setting: GPTSetting) -> dict[str, float]:
    """Return the perplexity of a character, and how many are predicted right, as a fraction.

    Perplexity is e to the mean cross-entropy in nats; its binary logarithm are bits a character.
    """
    network.eval()
    nats = torch.zeros((), dtype=torch.float64)
    right = predicted = 0
    for characters, following in tested_windows(data, setting):
        scores = network(characters)
        nats += F.cross_entropy(scores.flatten(0, 1), following.flatten(), reduction="sum").cpu()
        right += int((scores.argmax(-1) == following).sum())
        predicted += following.numel()
    network.train()
    return {"accuracy": right / predicted, "perplexity": float((nats / predicted).exp())}

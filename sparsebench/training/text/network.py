"""A GPT over characters, whose feed-forward parts may be sparse."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsebench.training.datasets import text
from sparsebench.training.settings import GPTSetting
from sparselayers import SparseLinear
from sparselayers.structures import named

_SPREAD = 0.02  # the standard deviation of embeddings at the beginning, as GPT-2 has it


def build(setting: GPTSetting) -> nn.Module:
    """Return the network of `setting`, on its device, drawn from its seed.

    Input (n, places) of characters' numbers, at most `context` places; output (n, places,
    `text.SIZE`), the logits of the character after each. Seeds PyTorch's global generator.
    """
    torch.manual_seed(setting.seed)
    generator = torch.Generator().manual_seed(setting.seed)
    return GPT(setting, generator).to(setting.device)


class GPT(nn.Module):
    """Blocks of attention and feed-forward parts, with layer norms before each (Radford 2019)."""

    def __init__(self, setting: GPTSetting, generator: torch.Generator) -> None:
        super().__init__()
        self.characters = nn.Embedding(text.SIZE, setting.width)
        self.places = nn.Embedding(setting.context, setting.width)
        for embedding in (self.characters, self.places):
            nn.init.normal_(embedding.weight, std=_SPREAD)
        self.blocks = nn.Sequential(
            *(Block(setting, number, generator) for number in range(setting.layers))
        )
        self.norm = nn.LayerNorm(setting.width)
        self.head = nn.Linear(setting.width, text.SIZE, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (n, places, `text.SIZE`) for characters (n, places)."""
        places = torch.arange(x.shape[1], device=x.device)
        x = self.characters(x) + self.places(places)
        scores: Tensor = self.head(self.norm(self.blocks(x)))
        return scores


class Block(nn.Module):
    """Attention to what came before, then a feed-forward part; (n, places, width) in and out."""

    def __init__(self, setting: GPTSetting, number: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = setting.heads
        self.norm = nn.LayerNorm(setting.width)
        self.project = nn.Linear(setting.width, 3 * setting.width)
        self.join = nn.Linear(setting.width, setting.width)
        self.norm2 = nn.LayerNorm(setting.width)
        sparse = number in setting.sparse
        self.up = _linear(setting, setting.width, setting.ff_width, generator, sparse=sparse)
        self.activation = nn.GELU() if setting.activation == "gelu" else nn.ReLU()
        self.down = _linear(setting, setting.ff_width, setting.width, generator, sparse=sparse)

    def forward(self, x: Tensor) -> Tensor:
        """Return x with what attention and the feed-forward part add to it."""
        x = x + self.join(self._attend(self.norm(x)))
        y: Tensor = x + self.down(self.activation(self.up(self.norm2(x))))
        return y

    def _attend(self, x: Tensor) -> Tensor:
        parts = self.project(x).unflatten(2, (3, self.heads, -1))  # (n, places, 3, heads, each)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return attended.transpose(1, 2).flatten(2)


def _linear(
    setting: GPTSetting,
    in_features: int,
    out_features: int,
    generator: torch.Generator,
    *,
    sparse: bool,
) -> nn.Module:
    if not sparse:
        return nn.Linear(in_features, out_features)
    shape = out_features, in_features
    connectivity = named(setting.structure).draw(shape, setting.sparsity, generator=generator)
    return SparseLinear(
        in_features,
        out_features,
        connectivity=connectivity,
        init=setting.init,
        generator=generator,
    )

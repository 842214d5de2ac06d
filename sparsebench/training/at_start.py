"""Pruning before training: SNIP, GraSP and SynFlow, as a setting asks for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsebench.training.settings import MLPSetting
from sparselayers.prune import grasp, prune_by_synflow, prune_to_sparsity, snip

# GraSP's authors divide the logits by this, so that the gradient flows.
TEMPERATURE = 200.0

ROUNDS = 100  # of SynFlow, as its authors do it


def prune(setting: MLPSetting, network: nn.Module, samples: tuple[Tensor, Tensor] | None) -> None:
    """Prune `network`, whose sparse layers have all connections, if `setting` asks for it.

    `samples` are images and labels. Raises ValueError where there are none.
    """
    if setting.at_start == "none":
        return
    if samples is None:
        raise ValueError(f"at_start {setting.at_start!r} needs samples of the data")
    images, labels = samples
    if setting.at_start == "synflow":
        prune_by_synflow(network, setting.sparsity, images[:1], rounds=ROUNDS)
        return
    scale = TEMPERATURE if setting.at_start == "grasp" else 1.0

    def loss() -> Tensor:
        return F.cross_entropy(network(images) / scale, labels)

    method = snip if setting.at_start == "snip" else grasp
    with torch.random.fork_rng(devices=[]):
        score = method(network, loss)
    prune_to_sparsity(network, setting.sparsity, distribution="global", score=score)

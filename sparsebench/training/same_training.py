"""Is truly sparse training the same training? Masked dense against sparse, step by step.

Both networks start as the same function, with the same connections, and see the same batches in
float64. What differs is the arithmetic: one multiplies by zeros, the other does not.

Pixels at the border of a digit are the same in every image of a batch, so the gradients of their
connections are equal, and RigL may grow any of them: both choices are right, but they are not the
same training. A dither of a thousandth of the pixels' deviation makes the choice unique.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch.nn import functional as F

from sparsebench.training import mlp
from sparsebench.training.batches import batches
from sparsebench.training.datasets import Dataset, digits
from sparsebench.training.rewiring import make_rewirer
from sparsebench.training.settings import MLPSetting
from sparselayers.ranks import Ranks

STEPS = 100
TOLERANCE = 1e-4  # relative, of the loss of every step
DITHER = 1e-3

# Rewired every ten steps, so that ten rewirings fall within the hundred that are compared.
_BASE = MLPSetting(
    experiment="same-training", row="fixed topology", update_every=10, fraction=0.3, lr=0.05
)
CASES = (_BASE, replace(_BASE, row="RigL", rewiring="rigl"))


@dataclass(frozen=True)
class Result:
    """The losses of both networks."""

    case: str
    conditions: dict[str, Any]
    losses: dict[str, list[float]]

    @property
    def difference(self) -> float:
        """The largest relative difference between the losses of a step."""
        pairs = zip(self.losses["masked"], self.losses["sparse"], strict=True)
        return max(abs(masked - sparse) / abs(masked) for masked, sparse in pairs)


def run(
    *,
    seed: int = 0,
    device: str = "cpu",
    threads: int = 1,
    steps: int = STEPS,
    width: int = 2000,
    dataset: Dataset | None = None,
) -> Iterator[Result]:
    """Train both networks for `steps`, with fixed connections and with RigL; yield the losses."""
    torch.set_num_threads(threads)
    images = (dataset or digits.load("MNIST")).to(device)
    for case in CASES:
        setting = replace(
            case, seed=seed, device=device, threads=threads, width=width, dataset=images.name
        )
        losses = {
            model: _losses(replace(setting, model=model), images, steps)
            for model in ("masked", "sparse")
        }
        conditions = {
            "steps": steps,
            "rewirings": steps // setting.update_every if setting.rewiring != "none" else 0,
            "dtype": "float64",
            "dither": DITHER,
            "width": width,
            "sparsity": setting.sparsity,
            "lr": setting.lr,
            "dataset": images.name,
            "seed": seed,
            "device": device,
            "threads": threads,
        }
        yield Result(setting.row, conditions, losses)


def _losses(setting: MLPSetting, data: Dataset, steps: int) -> list[float]:
    """Train the network of `setting` for `steps` and return the loss of each."""
    network = mlp.build(setting).double()
    optimizer = torch.optim.SGD(network.parameters(), lr=setting.lr, momentum=setting.momentum)
    rewirer = make_rewirer(setting, network, optimizer, Ranks())
    losses = []
    dither = torch.Generator().manual_seed(setting.seed)
    for images, labels in islice(batches(data, setting, epoch=0), steps):
        noise = DITHER * torch.randn(images.shape, generator=dither, dtype=torch.float64)
        loss = F.cross_entropy(network(images.double() + noise.to(images.device)), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        rewirer.step()
        losses.append(loss.item())
    return losses

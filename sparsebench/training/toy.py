"""Two layers fitted to random outputs by plain gradient descent, as the tutorial does it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from sparselayers import SparseLinear

SAMPLES, INPUTS, HIDDEN, OUTPUTS = 64, 200, 1000, 10
STEPS = 500
RATES = {"dense": 1e-4, "sparse": 1e-3}


@dataclass(frozen=True)
class Result:
    """The losses of both models, the sum of squares over all samples and outputs."""

    case: str
    conditions: dict[str, Any]
    losses: dict[str, list[float]]


def run(
    *, seed: int = 0, device: str = "cpu", threads: int = 1, steps: int = STEPS
) -> Iterator[Result]:
    """Train both models on the same random numbers; yield their losses."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(SAMPLES, INPUTS, generator=generator).to(device)
    y = torch.randn(SAMPLES, OUTPUTS, generator=generator).to(device)
    losses: dict[str, list[float]] = {}
    for name, rate in RATES.items():
        network = _network(name, generator).to(device)
        optimizer = torch.optim.SGD(network.parameters(), lr=rate)
        losses[name] = []
        for _ in range(steps):
            loss = F.mse_loss(network(x), y, reduction="sum")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses[name].append(loss.item())
    conditions = {"steps": steps, "seed": seed, "device": device, "threads": threads}
    yield Result("random inputs", conditions, losses)


def _network(name: str, generator: torch.Generator) -> nn.Module:
    if name == "dense":
        return nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUTPUTS))
    return nn.Sequential(
        SparseLinear(INPUTS, HIDDEN, generator=generator),
        nn.ReLU(),
        SparseLinear(HIDDEN, OUTPUTS, generator=generator),
    )

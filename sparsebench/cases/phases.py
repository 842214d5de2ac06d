"""What one call of a phase does: the code that is timed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sparsebench.cases.case import Phase

# Real steps, but so small that the weights stay ordinary numbers however often they are taken.
LEARNING_RATE = 1e-6


def step(
    module: nn.Module,
    x: Tensor,
    dy: Tensor,
    phase: Phase,
    *,
    learning_rate: float = LEARNING_RATE,
) -> Callable[[], Tensor]:
    """Return a function that performs `phase` once and returns the output, (batch, out).

    `x` is (batch, in), `dy` (batch, out) the gradient that comes back. What is checked, and not
    timed, has another `learning_rate`: 0 leaves the weights as they are.

    - `inference`: the output, without a graph.
    - `forward_backward`: the output, then from `dy` the gradients of the input, of the weights
      and of the bias. The ones of the call before are dropped first: nothing is accumulated.
    - `train_step`: the same, then a step of plain `torch.optim.SGD`.
    """
    if phase == "inference":

        def inference() -> Tensor:
            with torch.no_grad():
                y: Tensor = module(x)
                return y

        return inference

    parameters = list(module.parameters())
    leaves = [x.requires_grad_(), *parameters]

    def forward_backward() -> Tensor:
        for leaf in leaves:
            leaf.grad = None
        y: Tensor = module(x)
        torch.autograd.backward(y, dy)
        return y.detach()

    if phase == "forward_backward":
        return forward_backward
    optimizer = torch.optim.SGD(parameters, lr=learning_rate)

    def train_step() -> Tensor:
        y = forward_backward()
        optimizer.step()
        return y

    return train_step

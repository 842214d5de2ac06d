"""What one call of a phase does: the code that is timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsebench.cases.case import Phase

# Real steps, but so small that the weights stay ordinary numbers however often they are taken.
LEARNING_RATE = 1e-6

REWIRED = 0.3  # of the connections change place in a rewiring: RigL's α
_NEVER = 2**40  # steps


@runtime_checkable
class Rewired(Protocol):
    """A module whose connections change: `follow` returns what is called after each step.

    After every `update_every`-th step of `optimizer` the share `REWIRED` of the connections that
    are smallest in magnitude is dropped, and as many grow.
    """

    def follow(self, optimizer: Optimizer, update_every: int) -> Callable[[], object]:
        """Begin to count steps."""


@runtime_checkable
class Captured(Protocol):
    """A module whose steps are repeated as CUDA graphs: `captured` returns what repeats one.

    `leaves` are the tensors in which the step leaves gradients. What it returns is overwritten by
    the next repetition.
    """

    def captured(
        self, call: Callable[[], Tensor], leaves: Sequence[Tensor]
    ) -> Callable[[], Tensor]:
        """Run `call` a few times, with the numbers of `leaves` as they were afterwards."""


def training(module: nn.Module) -> Phase:
    """Return the phase that trains `module`: its optimizer's step too, where it has weights."""
    return "train_step" if any(True for _ in module.parameters()) else "forward_backward"


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
    - `train_step`: the same, then a step of plain `torch.optim.SGD`, and what a module that is
      `Rewired` does in a step between two rewirings.
    - `rewiring`: the same where the module is rewired after the step.

    Of a module that is `Captured` the function repeats what was captured of it.
    """
    if phase == "inference":

        def inference() -> Tensor:
            with torch.no_grad():
                y: Tensor = module(x)
                return y

        return _taken(module, inference, [])

    parameters = list(module.parameters())
    leaves = [x.requires_grad_(), *parameters]

    def forward_backward() -> Tensor:
        for leaf in leaves:
            leaf.grad = None
        y: Tensor = module(x)
        torch.autograd.backward(y, dy)
        return y.detach()

    if phase == "forward_backward":
        return _taken(module, forward_backward, leaves)
    optimizer = torch.optim.SGD(parameters, lr=learning_rate)
    if isinstance(module, Rewired):
        after = module.follow(optimizer, 1 if phase == "rewiring" else _NEVER)
    elif phase == "rewiring":
        raise ValueError(f"{type(module).__name__} cannot be rewired")
    else:
        after = None

    def train_step() -> Tensor:
        y = forward_backward()
        optimizer.step()
        if after is not None:
            after()
        return y

    return _taken(module, train_step, leaves)


def _taken(
    module: nn.Module, call: Callable[[], Tensor], leaves: Sequence[Tensor]
) -> Callable[[], Tensor]:
    return module.captured(call, leaves) if isinstance(module, Captured) else call

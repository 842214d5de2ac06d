"""RigL as it is published: dense weight, dense gradient, and a mask for both.

The weight is zero where there is no connection, so that the products are those of nn.Linear. Every
backward pass makes the whole gradient, a hook masks it, and after every step of the optimizer the
weight is masked again (momentum and weight decay would fill it). In a rewiring the smallest weights
that exist are dropped, and as many grow where the gradient before the mask is largest; what was
just dropped may grow again.

Source: Evci et al. 2020, Rigging the Lottery (arXiv 1911.11134), algorithm 1, and its
implementations, google-research/rigl (TensorFlow) and rigl-torch, of which this does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

import sparselayers as sl
from sparsebench.cases.case import DTYPE_BYTES, Case
from sparsebench.cases.phases import REWIRED
from sparsebench.cases.problem import Problem
from sparsebench.implementations.dense import Dense, linear_of


class MaskedRigL(Dense):
    """Keeps weight, gradient and mask dense, and chooses among all of them in a rewiring."""

    name = "masked_rigl"
    operations = ("linear",)
    gflops = 40.0
    grow = "gradient"
    stands_in = False
    regrows = True

    def bytes_needed(self, case: Case) -> int:
        """Count the mask, the masked gradient, and what choosing sorts."""
        return super().bytes_needed(case) + 5 * case.weights * DTYPE_BYTES[case.dtype]

    def build(self, problem: Problem) -> nn.Module:
        """Make the dense layer, with a mask beside it and a hook on its weight's gradient."""
        return _MaskedRigL(problem)

    def values_gradient(self, module: nn.Module, problem: Problem) -> Tensor:
        """Gather the masked gradient where the connections are by now."""
        return super().values_gradient(module, self.now(module, problem))

    def forget_absent(self, module: nn.Module, problem: Problem) -> None:
        """Leave it: absent weights are masked after every step."""

    def now(self, module: nn.Module, problem: Problem) -> Problem:
        """Return what the mask connects."""
        assert isinstance(module, _MaskedRigL)
        mask = module.mask.bool()
        values, bias = module.weight.detach()[mask], module.bias.detach().clone()
        return replace(problem, connectivity=sl.from_mask(mask), values=values, bias=bias)


class _MaskedRigL(nn.Module):
    mask: Tensor

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        dense = linear_of(problem)
        self.weight, self.bias = dense.weight, dense.bias
        mask = torch.zeros_like(dense.weight, requires_grad=False)
        mask[problem.connectivity.row, problem.connectivity.col] = 1
        self.register_buffer("mask", mask)
        self._due = False
        self._gradient: Tensor | None = None
        self.weight.register_hook(self._masked)  # type: ignore[no-untyped-call]  # PyTorch's

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)

    def follow(self, optimizer: Optimizer, update_every: int) -> Callable[[], object]:
        del optimizer
        steps = 0
        self._due = update_every == 1

        @torch.no_grad()
        def after() -> None:
            nonlocal steps
            steps += 1
            if self._due:
                self._rewire()
            self.weight *= self.mask
            self._due = (steps + 1) % update_every == 0

        return after

    def _masked(self, gradient: Tensor) -> Tensor:
        if self._due:
            self._gradient = gradient
        return gradient * self.mask

    def _rewire(self) -> None:
        assert self._gradient is not None
        flat, mask = self.weight.view(-1), self.mask.view(-1)
        connections = int(mask.sum())
        count = min(int(REWIRED * connections), mask.numel() - connections)
        worth = torch.where(mask > 0, flat.abs(), torch.inf)
        dropped = worth.topk(count, largest=False, sorted=False).indices
        was = mask.clone()
        mask[dropped] = 0
        score = torch.where(mask > 0, -1.0, self._gradient.view(-1).abs())
        grown = score.topk(count, sorted=False).indices
        mask[grown] = 1
        flat[grown[was[grown] == 0]] = 0
        self._gradient = None

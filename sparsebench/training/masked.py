"""The masked dense layer: what most papers on sparse training really run."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparselayers import SparseLinear
from sparselayers.ranks import Ranks


class MaskedLinear(nn.Module):
    """Apply y = x (W ∘ M)ᵀ + b with a dense W (out, in) and a mask M of the same shape.

    Input (*, in), output (*, out). Built from a SparseLinear, whose function it starts as:
    everything of size out × in is stored and multiplied, zeros included. Where `watched` is set,
    the forward pass keeps `effective`, W ∘ M, whose gradient is the dense one.
    """

    def __init__(self, sparse: SparseLinear) -> None:
        super().__init__()
        self.in_features, self.out_features = sparse.in_features, sparse.out_features
        self.mask: Tensor
        self.register_buffer("mask", sparse.connectivity.mask())
        weight = torch.zeros_like(self.mask, dtype=sparse.weights.dtype)
        weight[self.mask] = sparse.weights.detach()
        self.weight = nn.Parameter(weight)
        self.bias = None if sparse.bias is None else nn.Parameter(sparse.bias.detach().clone())
        self.watched = False
        self.effective: Tensor | None = None

    @property
    def nnz(self) -> int:
        """The number of weights that the mask lets through."""
        return int(self.mask.sum())

    def forward(self, x: Tensor) -> Tensor:
        """Return x (W ∘ M)ᵀ + b, (*, out)."""
        effective = self.weight * self.mask
        if self.watched and effective.requires_grad:
            effective.retain_grad()
            self.effective = effective
        return F.linear(x, effective, self.bias)

    def extra_repr(self) -> str:
        """Say what `print(layer)` shows."""
        return f"in_features={self.in_features}, out_features={self.out_features}, nnz={self.nnz}"


class MaskedRigL:
    """RigL on masked layers, written from the paper with dense matrices throughout.

    The oracle for `sparselayers.dynamic.RigL`, with its choices: just-dropped connections do not
    grow back in the same step, what grows starts at 0, and so does its momentum.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        update_every: int,
        stop_after: int,
        fraction: float,
        ranks: Ranks,
    ) -> None:
        self.layers = [m for m in network.modules() if isinstance(m, MaskedLinear)]
        self.optimizer, self.ranks = optimizer, ranks
        self.update_every, self.stop_after, self.fraction = update_every, stop_after, fraction
        self._at(0)

    @torch.no_grad()
    def step(self) -> None:
        """Count a step, and rewire if it is time."""
        self._at(self.steps + 1)
        if self.steps % self.update_every or self.steps >= self.stop_after:
            return
        share = self.fraction / 2 * (1 + math.cos(math.pi * self.steps / self.stop_after))
        for layer in self.layers:
            assert layer.effective is not None
            assert layer.effective.grad is not None
            self._rewire(layer, self.ranks.sum(layer.effective.grad), share)
            self.ranks.check("a masked layer's weights and mask", layer.weight, layer.mask)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps; the masks are the network's own."""
        return {"steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Go on from there."""
        self._at(state_dict["steps"])

    def _at(self, steps: int) -> None:
        self.steps = steps
        for layer in self.layers:
            layer.watched = (steps + 1) % self.update_every == 0

    def _rewire(self, layer: MaskedLinear, gradient: Tensor, share: float) -> None:
        old, weight = layer.mask.clone(), layer.weight.detach()
        count = min(int(share * layer.nnz), int((~old).sum()))
        kept_out = weight.abs().masked_fill(~old, math.inf).flatten()
        dropped = kept_out.topk(count, largest=False).indices
        grown = gradient.abs().masked_fill(old, -1.0).flatten().topk(count).indices
        layer.mask.view(-1)[dropped] = False
        layer.mask.view(-1)[grown] = True
        staying = old & layer.mask
        weight.mul_(staying)
        for state in self.optimizer.state.get(layer.weight, {}).values():
            if isinstance(state, Tensor) and state.shape == weight.shape:
                state.mul_(staying)

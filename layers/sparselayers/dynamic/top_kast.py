"""Top-KAST: the forward pass uses the largest weights, the backward pass trains more than those."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from sparselayers.change import change_connections, check_changeable
from sparselayers.fraction import check_sparsity
from sparselayers.layer import SparseLayer
from sparselayers.topologies.keys import number_of_connections


class TopKAST:
    """Compute with the share of weights of largest magnitude; train all connections that exist.

    The connections of each layer are the paper's set B: they are stored, and all of them get
    gradients. Of these the largest, as many as a layer of `sparsity` has, are its set A: outputs
    and the gradients of inputs are computed as if the others were zero. Which ones they are is
    chosen anew after every `update_every`-th `step`. So a weight that is not used yet can grow
    until it is.

        explore = TopKAST(model, sparsity=0.98)  # the layers of `model` are, say, 90% sparse
        for x, target in data:
            optimizer.zero_grad()
            (loss(model(x), target) + 1e-4 * explore.penalty()).backward()
            optimizer.step()
            explore.step()
        explore.finish(optimizer)  # layers with the connections of A alone

    The paper draws B anew from dense weights as it goes; here it is what is stored, so that nothing
    dense ever exists. Rewiring and pruning are refused until `finish`.

    Raises ValueError for a sparsity outside [0, 1), or lower than that of a layer; where
    `update_every` is less than 1; for a model without sparse layers, and for layers whose weights
    are frozen, parametrized, sharded or shared.

    Source: Jayakumar et al. 2020, Top-KAST: Top-K Always Sparse Training (arXiv 2106.03517).
    """

    def __init__(self, model: nn.Module, *, sparsity: float, update_every: int = 100) -> None:
        check_sparsity(sparsity)
        if update_every < 1:
            raise ValueError(f"update_every must be at least 1, got {update_every}")
        self.layers = {p: m for p, m in model.named_modules() if isinstance(m, SparseLayer)}
        if not self.layers:
            raise ValueError(
                "the model has no sparse layers: convert it first (sparselayers.convert_model)"
            )
        for path, layer in self.layers.items():
            if not layer.weights.requires_grad:
                raise ValueError(
                    f"TopKAST needs gradients, and the weights of layer {path!r} are frozen: let "
                    "them require gradients"
                )
        self.update_every, self.steps = update_every, 0
        check_changeable(self.layers, self.layers, None)
        counts = {
            path: _count(path, layer, sparsity) for path, layer in self.layers.items()
        }  # all are known before a layer is changed
        self._parts = {path: _Part(counts[path], each) for path, each in self.layers.items()}
        for path, layer in self.layers.items():
            parametrize.register_parametrization(layer, "weights", self._parts[path])

    def active(self, path: str) -> Tensor:
        """Return which connections of the layer at `path` are used, booleans (nnz,)."""
        return self._parts[path].active.clone()

    def step(self) -> None:
        """Count a step of the optimizer, and choose what is used anew if it is time."""
        self.steps += 1
        if self.steps % self.update_every == 0:
            for path, layer in self.layers.items():
                self._parts[path].choose(_original(layer))

    def penalty(self) -> Tensor:
        """Return the exploration loss: Σ |w| over what is used, and Σ |w| / D over the rest.

        D is the share of the places of the layer that are used: what is not used yet is drawn to
        zero harder, so that it has to be worth it. A number, to be added to the loss times a
        coefficient. The paper's "exploration regularisation loss".
        """
        parts = []
        for path, layer in self.layers.items():
            part, weights = self._parts[path], _original(layer)
            share = part.count / math.prod(layer.connectivity.shape)
            parts.append(torch.where(part.active, 1.0, 1.0 / share).mul(weights.abs()).sum())
        return torch.stack([part.to(parts[0]) for part in parts]).sum()

    def finish(self, optimizer: Optimizer | None = None) -> None:
        """Leave layers that have only the connections in use; the optimizer's state follows."""
        for path, layer in self.layers.items():
            part, weights = self._parts[path], _original(layer)
            part.choose(weights)
            parametrize.remove_parametrizations(layer, "weights", leave_parametrized=False)
            change_connections(layer, layer.connectivity.select(part.active), optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return the steps made; what is used is in the state dict of the model."""
        return {"steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self.steps = int(state_dict["steps"])


class _Part(nn.Module):
    """Weights of which only the largest count; gradients pass to all."""

    active: Tensor

    def __init__(self, count: int, layer: SparseLayer) -> None:
        super().__init__()
        self.count = count
        self.register_buffer("active", torch.zeros(layer.connectivity.nnz, dtype=torch.bool))
        self.active = self.active.to(layer.weights.device)
        self.choose(layer.weights)

    @torch.no_grad()
    def choose(self, weights: Tensor) -> None:
        """Use the largest magnitudes; of equal ones those that come first."""
        order = weights.abs().nan_to_num(nan=float("inf")).argsort(descending=True, stable=True)
        self.active.zero_()[order[: self.count]] = True

    def forward(self, weights: Tensor) -> Tensor:
        """Return the weights, (nnz,), with zeros where they are not used."""
        used: Tensor = _StraightThrough.apply(weights, self.active)
        return used


class _StraightThrough(torch.autograd.Function):
    """Zeros where `active` is False, and the whole gradient."""

    @staticmethod
    def forward(weights: Tensor, active: Tensor) -> Tensor:
        return weights.masked_fill(~active, 0)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None: ...

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def _original(layer: SparseLayer) -> Tensor:
    """The parameter behind the weights that are used."""
    parametrizations: Any = layer.parametrizations
    weights: Tensor = parametrizations.weights.original
    return weights


def _count(path: str, layer: SparseLayer, sparsity: float) -> int:
    """Return how many connections of a layer are used."""
    wanted = number_of_connections(layer.connectivity.shape, sparsity)
    if wanted > layer.connectivity.nnz:
        raise ValueError(
            f"{path}: a sparsity of {sparsity:g} uses {wanted} connections, and the layer has "
            f"{layer.connectivity.nnz}: choose more than its own, {layer.connectivity.sparsity:.4g}"
        )
    return max(1, wanted)

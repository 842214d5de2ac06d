"""What a connection is worth when a model is pruned: functions of a layer, (nnz,) numbers each."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity
from sparselayers.layer import SparseLayer
from sparselayers.topology_change import TopologyChange

Score = Callable[[SparseLayer], Tensor]


def magnitude(layer: SparseLayer) -> Tensor:
    """Return |w|, (nnz,)."""
    return layer.weights.detach().abs()


def taylor(layer: SparseLayer) -> Tensor:
    """Return (w · ∂L/∂w)², (nnz,): what the loss changes by, to first order, without each weight.

    The gradient is the one that the layer has: of the last backward pass, or several.

    Raises ValueError where it has none.

    Source: Molchanov et al. 2019, Importance Estimation for Neural Network Pruning
    (arXiv 1906.10771), equation 8.
    """
    gradient = layer.weights.grad
    if gradient is None:
        frozen = "" if layer.weights.requires_grad else ": they are frozen"
        raise ValueError(f"taylor needs a gradient of the weights, and there is none{frozen}")
    return (layer.weights.detach() * gradient).square_()


class Movement:
    """−Σ w · ∂L/∂w over the steps since it was made, (nnz,): weights that shrink are worth least.

    Made for one Pruner, which shows it every step of its optimizer; connections that are not
    pruned keep their sums. Connections that have grown since begin at 0.

    Source: Sanh et al. 2020, Movement Pruning (arXiv 2005.07683), equation 2, without the learning
    rate, which is the same for all weights of a step.
    """

    def __init__(self) -> None:
        self._sums: weakref.WeakKeyDictionary[SparseLayer, tuple[Connectivity, Tensor]] = (
            weakref.WeakKeyDictionary()
        )

    def __call__(self, layer: SparseLayer) -> Tensor:
        """Return the sums of a layer's connections, (nnz,)."""
        connectivity = layer.connectivity
        old, sums = self._sums.get(layer, (connectivity, torch.zeros_like(layer.weights.detach())))
        return sums if old is connectivity else TopologyChange(old, connectivity).carry(sums)

    @torch.no_grad()
    def observe(self, layer: SparseLayer) -> None:
        """Take note of a step that is about to be made."""
        gradient = layer.weights.grad
        if gradient is not None:
            self._sums[layer] = layer.connectivity, self(layer) - layer.weights * gradient

    def restore(self, layer: SparseLayer, sums: Tensor) -> None:
        """Go on from `sums` (nnz,)."""
        self._sums[layer] = layer.connectivity, sums.to(layer.weights.detach())


class FixedScores:
    """Scores that were computed once, for the connections of then."""

    def __init__(self, scores: Mapping[SparseLayer, Tensor]) -> None:
        self._scores = {layer: (layer.connectivity, score) for layer, score in scores.items()}

    def __call__(self, layer: SparseLayer) -> Tensor:
        """Return the scores of a layer's connections; ValueError where it has others by now."""
        if layer not in self._scores:
            raise ValueError("the scores were computed for other layers")
        connectivity, score = self._scores[layer]
        if not connectivity.equals(layer.connectivity):
            raise ValueError(
                "the scores were computed for other connections than the layer has now"
            )
        return score


def scores_of(score: Score, path: str, layer: SparseLayer) -> Tensor:
    """Return what `score` says of a layer, or raise ValueError, naming the layer."""
    name = getattr(score, "__name__", type(score).__name__)
    try:
        scores = score(layer)
    except ValueError as error:
        raise ValueError(f"layer {path!r}: {error}") from error
    nnz = layer.weights.numel()
    if not isinstance(scores, Tensor) or scores.shape != (nnz,) or scores.is_complex():
        got = (
            f"{tuple(scores.shape)} of {scores.dtype}"
            if isinstance(scores, Tensor)
            else type(scores).__name__
        )
        raise ValueError(
            f"layer {path!r}: the score {name} must be {nnz} real numbers, one for each "
            f"connection, got {got}"
        )
    return scores.detach()


def check_trained(score: Score, layers: Mapping[str, SparseLayer]) -> None:
    """Raise ValueError where a score needs gradients that a layer will never have."""
    if score is taylor or isinstance(score, Movement):
        check_gradients("taylor" if score is taylor else "Movement", layers)


def check_gradients(name: str, layers: Mapping[str, SparseLayer]) -> None:
    """Raise ValueError where one of `layers` is frozen, which `name` cannot have."""
    frozen = [repr(path) for path, layer in layers.items() if not layer.weights.requires_grad]
    if frozen:
        raise ValueError(
            f"the score {name} needs gradients, and the weights of layer {', '.join(frozen)} are "
            "frozen: skip it, or let it require gradients"
        )

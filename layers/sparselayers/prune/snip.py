"""SNIP: what the loss of an untrained model is most sensitive to stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from sparselayers.prune.magnitude import sparse_layers
from sparselayers.prune.scores import FixedScores, check_gradients


def snip(model: nn.Module, loss: Callable[[], Tensor], *, skip: Iterable[str] = ()) -> FixedScores:
    """Return the score |w · ∂L/∂w| of a model that is not trained yet.

    `loss` computes the loss of the model on some data, of all classes if there are any. The score
    is to be used at once, as the paper does with one threshold for all layers:

        prune_to_sparsity(model, 0.9, distribution="global", score=snip(model, loss))

    Gradients that the parameters have stay as they are.

    Raises ValueError where the model has no sparse layers, or weights are frozen or not in the
    loss.

    Source: Lee et al. 2019, SNIP (arXiv 1810.02340), connection sensitivity; the paper divides by
    the sum over all, which makes no difference to the choice, and takes one batch of 100 or 128.
    """
    layers = sparse_layers(model, skip)
    check_gradients("snip", layers)
    weights = [layer.weights for layer in layers.values()]
    with torch.enable_grad():
        gradients = torch.autograd.grad(loss(), weights)
    scores = [(w.detach() * g).abs_() for w, g in zip(weights, gradients, strict=True)]
    return FixedScores(dict(zip(layers.values(), scores, strict=True)))

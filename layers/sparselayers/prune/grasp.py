"""GraSP: what stays is what the gradient flows through."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from sparselayers.prune.magnitude import sparse_layers
from sparselayers.prune.scores import FixedScores, check_gradients


def grasp(model: nn.Module, loss: Callable[[], Tensor], *, skip: Iterable[str] = ()) -> FixedScores:
    """Return the score w · (H g) of a model that is not trained yet, g its gradient, H its Hessian.

    Without a weight the squared norm of the gradient changes by −2 w · (H g), to first order: what
    would lower it most stays. H and g are those of the weights of the sparse layers. `loss` and
    use are as in `snip`; the authors divide the logits by a temperature of 200, which belongs into
    `loss`, and take some ten to 25 samples of each class.

    Raises ValueError as `snip` does.

    Source: Wang et al. 2020, Picking Winning Tickets Before Training by Preserving Gradient Flow
    (GraSP, arXiv 2002.07376), algorithm 1, and the authors' repository alecwangcq/GraSP.
    """
    layers = sparse_layers(model, skip)
    check_gradients("grasp", layers)
    weights = [layer.weights for layer in layers.values()]
    with torch.enable_grad():
        gradients = torch.autograd.grad(loss(), weights, create_graph=True)
        flow = torch.stack([(g * g.detach()).sum() for g in gradients]).sum()
        products = torch.autograd.grad(flow, weights)
    scores = [w.detach() * product for w, product in zip(weights, products, strict=True)]
    return FixedScores(dict(zip(layers.values(), scores, strict=True)))

"""SynFlow: pruning before training without data, by the strength of paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparselayers.fraction import check_sparsity
from sparselayers.prune.magnitude import prune_to_sparsity, sparse_layers
from sparselayers.prune.scores import FixedScores, check_gradients

_NORMS = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
)


def synflow(model: nn.Module, x: Tensor, *, skip: Iterable[str] = ()) -> FixedScores:
    """Return the score |w| · ∂R/∂|w|, R = the sum of the outputs where all weights are positive.

    All parameters are replaced by their magnitudes and the input by ones, of the shape of `x`, one
    sample with the batch's dimension; norms pass on what they are given, as the flow would not be
    kept by them. The model comes back as it was.

    Raises ValueError as `snip` does.

    Source: Tanaka et al. 2020, Pruning Neural Networks Without Any Data by Iteratively Conserving
    Synaptic Flow (SynFlow, arXiv 2006.05467), algorithm 1, and the authors' repository
    ganguli-lab/Synaptic-Flow, where norms of batches pass on what they are given too: before
    training, in evaluation, they have nothing to subtract.
    """
    layers = sparse_layers(model, skip)
    check_gradients("synflow", layers)
    weights = [layer.weights for layer in layers.values()]
    with _positive(model), torch.enable_grad():
        flow = model(torch.ones_like(x)).sum()
        gradients = torch.autograd.grad(flow, weights)
        scores = [w.detach() * g for w, g in zip(weights, gradients, strict=True)]
    return FixedScores(dict(zip(layers.values(), scores, strict=True)))


def prune_by_synflow(
    model: nn.Module,
    sparsity: float,
    x: Tensor,
    *,
    rounds: int = 100,
    optimizer: Optimizer | None = None,
    skip: Iterable[str] = (),
) -> int:
    """Prune to `sparsity` by `synflow` in rounds; return how many connections were removed.

    After round k of n the density is (1 − sparsity)^(k / n), with one threshold for all layers: in
    one round whole layers would go.

    Raises ValueError as `prune_to_sparsity` and `synflow` do, and for rounds that are not positive.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    skip = tuple(skip)
    check_sparsity(sparsity)
    removed = 0
    for number in range(1, rounds + 1):
        target = 1.0 - (1.0 - sparsity) ** (number / rounds)
        removed += prune_to_sparsity(
            model,
            target,
            distribution="global",
            optimizer=optimizer,
            skip=skip,
            score=synflow(model, x, skip=skip),
        )
    return removed


@contextmanager
def _positive(model: nn.Module) -> Iterator[None]:
    """Make all parameters positive and all norms transparent, in evaluation, for a while."""
    training = [module for module in model.modules() if module.training]
    parameters = list(model.parameters())
    before = [parameter.detach().clone() for parameter in parameters]
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, _NORMS):
                handle = module.register_forward_hook(lambda _, inputs, __: inputs[0])
                stack.callback(handle.remove)
        model.eval()
        try:
            with torch.no_grad():
                for parameter in parameters:
                    parameter.abs_()
            yield
        finally:
            with torch.no_grad():
                for parameter, values in zip(parameters, before, strict=True):
                    parameter.copy_(values)
            for module in training:
                module.training = True

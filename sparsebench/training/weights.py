"""The weights of a network in training: which layers hold some, and how many of them exist."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from sparsebench.training.masked import MaskedLinear
from sparselayers.layer import SparseLayer


def layers_with_weights(network: nn.Module) -> list[nn.Module]:
    """Return the layers of `network` that hold weights, in the order of their definition."""
    kinds = nn.Linear, nn.Conv2d, MaskedLinear, SparseLayer
    return [module for module in network.modules() if isinstance(module, kinds)]


def number_of_parameters(network: nn.Module) -> int:
    """Count weights that exist and biases of these layers, as the tutorial counts them."""
    biases = (layer.bias for layer in layers_with_weights(network))
    return number_of_all_weights(network) + sum(
        bias.numel() for bias in biases if isinstance(bias, Tensor)
    )


def number_of_all_weights(network: nn.Module) -> int:
    """Count the weights of these layers that exist."""
    return sum(map(number_of_weights, layers_with_weights(network)))


def number_of_weights(layer: nn.Module) -> int:
    """Count the weights of `layer` that exist."""
    if isinstance(layer, SparseLayer):
        return layer.weights.numel()
    if isinstance(layer, MaskedLinear):
        return layer.nnz
    mask = getattr(layer, "weight_mask", None)  # of torch.nn.utils.prune
    return int(mask.sum()) if isinstance(mask, Tensor) else cast(Tensor, layer.weight).numel()

"""What a network in training holds, counted from its tensors."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from sparsebench.training.settings import Setting
from sparsebench.training.weights import layers_with_weights, number_of_all_weights
from sparselayers.layer import SparseLayer
from sparselayers.sizes import nbytes


def of(network: nn.Module, setting: Setting) -> dict[str, Any]:
    """Return what an epoch's record says of the network as the epoch begins."""
    return {"sparsity": sparsity(network), "held": held(network, momentum=setting.momentum > 0)}


def sparsity(network: nn.Module) -> float:
    """Return the fraction of the weights of all Linear and Conv2d that are not there any more."""
    entries = sum(map(_entries, layers_with_weights(network)))
    return 1.0 - number_of_all_weights(network) / entries


def held(network: nn.Module, *, momentum: bool) -> int:
    """Return the bytes of parameters, their gradients and momentum, masks and indices.

    What torch.nn.utils.prune computes of weight and mask for every forward pass counts too, and
    what kernels derive from the indices does not: that is in measured peaks alone.
    """
    parameters = sum(map(_bytes, network.parameters()))
    others = nbytes(network) - parameters
    computed = sum(
        _bytes(value)
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor)
    )
    return parameters * (3 if momentum else 2) + others + computed


def _entries(layer: nn.Module) -> int:
    """The weights that the layer would have if it were dense."""
    if isinstance(layer, SparseLayer):
        return layer.shape[0] * layer.shape[1]
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.numel()


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()

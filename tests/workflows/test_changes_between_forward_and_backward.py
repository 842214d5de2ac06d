"""Connections that change between forward and backward: autograd refuses, as for any variable."""

import pytest
import torch

import sparselayers as sl

MESSAGE = "modified by an inplace operation"


def other(layer, sparsity=None):
    return type(layer)(*_sizes(layer), sparsity=layer.sparsity if sparsity is None else sparsity)


def _sizes(layer):
    if isinstance(layer, sl.SparseLinear):
        return layer.in_features, layer.out_features
    return layer.in_channels, layer.out_channels, layer.kernel_size


def load(layer):
    layer.load_state_dict(other(layer).state_dict())


def load_more(layer):
    layer.load_state_dict(other(layer, 0.2).state_dict())


def rewire(layer):
    layer.set_connections(other(layer).connectivity, layer.weights.detach().clone())


def prune(layer):
    keep = torch.arange(layer.weights.numel()) % 2 == 0
    sl.prune.remove_connections(layer, keep)


LAYERS = {
    "linear": (lambda: sl.SparseLinear(12, 9, sparsity=0.5), (4, 12)),
    "conv": (lambda: sl.SparseConv2d(3, 5, 3, sparsity=0.5), (2, 3, 6, 6)),
}


@pytest.mark.parametrize("change", [load, load_more, rewire, prune])
@pytest.mark.parametrize("first", [True, False], ids=["first layer", "inner layer"])
@pytest.mark.parametrize("kind", LAYERS)
def test_autograd_refuses(kind, first, change):
    build, shape = LAYERS[kind]
    layer = build()
    x = torch.randn(*shape, requires_grad=not first)
    y = layer(x).square().sum()
    change(layer)
    with pytest.raises(RuntimeError, match=MESSAGE):
        y.backward()


def test_under_autocast():
    """The weights are a cast copy there, whose changes autograd does not see."""
    layer = sl.SparseLinear(12, 9, sparsity=0.8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(torch.randn(4, 12)).float().sum()
    load_more(layer)
    with pytest.raises(RuntimeError, match=MESSAGE):
        y.backward()


def test_edited_arrays():
    layer = sl.SparseLinear(12, 9, sparsity=0.5)
    y = layer(torch.randn(4, 12)).sum()
    layer.col.data.copy_(other(layer).col)
    layer.row_ptr.data.copy_(layer.row_ptr)
    with pytest.raises((RuntimeError, ValueError)):
        y.backward()


def test_what_changes_nothing_is_fine():
    layer = sl.SparseLinear(12, 9, sparsity=0.5)
    y = layer(torch.randn(4, 12)).sum()
    layer.set_connections(sl.from_mask(layer.connectivity.mask()), layer.weights.detach().clone())
    with pytest.raises(RuntimeError, match=MESSAGE):  # the weights were written
        y.backward()
    y = layer(torch.randn(4, 12)).sum()
    layer.state_dict()
    y.backward()
    assert layer.weights.grad is not None

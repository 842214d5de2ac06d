"""Weights that are computed of others, and what else takes a layer's parameters by their names."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import sparselayers as sl
from sparselayers.prune import prune_to_sparsity, remove_connections

LAYERS = {
    "linear": (lambda: sl.SparseLinear(12, 9, sparsity=0.6, dtype=torch.float64), (5, 12)),
    "conv": (lambda: sl.SparseConv2d(2, 4, 3, sparsity=0.6, dtype=torch.float64), (2, 2, 5, 5)),
}


class Doubled(nn.Module):
    def forward(self, weights):
        return 2 * weights

    def right_inverse(self, weights):
        return weights / 2


def product(layer, x, weight):
    """What the layer computes, by a dense weight."""
    if isinstance(layer, sl.SparseLinear):
        return F.linear(x, weight, layer.bias)
    return F.conv2d(x, weight.view(layer.weight_shape), layer.bias)


def scattered(layer, weights):
    return torch.zeros(layer.shape, dtype=weights.dtype).index_put(tuple(layer.indices), weights)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_parametrization(kind):
    make, shape = LAYERS[kind]
    layer = make()
    before, x = copy.deepcopy(layer), torch.randn(shape, dtype=torch.float64)
    parametrize.register_parametrization(layer, "weights", Doubled())
    torch.testing.assert_close(layer(x), before(x))
    original = layer.parametrizations.weights.original
    y = layer(x)
    expected = product(layer, x, scattered(layer, 2 * original))
    torch.testing.assert_close(y, expected)
    gradient, right = (
        torch.autograd.grad(out.square().sum(), original)[0] for out in (y, expected)
    )
    torch.testing.assert_close(gradient, right)
    parametrize.remove_parametrizations(layer, "weights")
    torch.testing.assert_close(layer(x), before(x))


@pytest.mark.parametrize("dim", [None, 0, -1])
@pytest.mark.parametrize("kind", LAYERS)
def test_weight_norm(kind, dim):
    make, shape = LAYERS[kind]
    layer = make()
    before, x = copy.deepcopy(layer), torch.randn(shape, dtype=torch.float64)
    parametrizations.weight_norm(layer, "weights", dim=dim)
    torch.testing.assert_close(layer(x), before(x))
    g, v = layer.parametrizations.weights.original0, layer.parametrizations.weights.original1
    norm = v.norm() if dim != 0 else v.abs()  # of vectors dimension 0 is all there is to keep
    expected = product(layer, x, scattered(layer, g * v / norm))
    y = layer(x)
    for ours, right in zip(
        *(torch.autograd.grad(out.square().sum(), (g, v)) for out in (y, expected)), strict=True
    ):
        torch.testing.assert_close(ours, right)
    torch.testing.assert_close(
        layer.weight.to_dense().view(layer.shape), scattered(layer, g * v / norm)
    )


CHANGES = {
    "to a sparsity": lambda layer: prune_to_sparsity(nn.Sequential(layer), 0.9),
    "by a schedule": lambda layer: sl.Pruner(
        nn.Sequential(layer), None, sl.Gradual(final=0.9, stop_after=2)
    ),
    "by a mask": lambda layer: remove_connections(layer, layer.weights.detach() > 0),
    "as ActuallySparse": lambda layer: layer.prune_smallest_values(),
    "by hand": lambda layer: layer.set_connections(
        layer.connectivity.select(layer.weights.detach() > 0), layer.weights.detach()[:1]
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", LAYERS)
def test_connections_of_computed_weights_do_not_change(kind, change):
    make, shape = LAYERS[kind]
    layer, x = make(), torch.randn(shape, dtype=torch.float64)
    parametrize.register_parametrization(layer, "weights", Doubled())
    connectivity, y = layer.connectivity, layer(x)
    with pytest.raises(ValueError, match="computed of others"):
        CHANGES[change](layer)
    assert layer.connectivity is connectivity
    torch.testing.assert_close(layer(x), y)


def test_states_of_parametrized_layers():
    layer = parametrizations.weight_norm(LAYERS["linear"][0](), "weights", dim=None)
    other = parametrizations.weight_norm(LAYERS["linear"][0](), "weights", dim=None)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(5, 12, dtype=torch.float64)
    torch.testing.assert_close(other(x), layer(x))
    torch.testing.assert_close(copy.deepcopy(layer).float()(x.float()), layer(x).float())


def test_another_number_of_connections_is_refused():
    layer = parametrizations.weight_norm(sl.SparseLinear(12, 9, sparsity=0.6), "weights", dim=None)
    x = torch.randn(5, 12)
    expected = layer(x)
    with pytest.raises(ValueError, match="remove that before its connections change"):
        layer.set_connections(layer.connectivity, torch.zeros(43))
    with pytest.raises(RuntimeError, match="remove that before its connections change"):
        layer.load_state_dict(sl.SparseLinear(12, 9, sparsity=0.3).state_dict())
    assert torch.equal(layer(x), expected)


def test_pruned_by_pytorch():
    layer = sl.SparseLinear(12, 9, sparsity=0.6)
    prune.l1_unstructured(layer, "weights", amount=0.5)
    x = torch.randn(5, 12)
    expected = F.linear(x, scattered(layer, layer.weights_orig * layer.weights_mask), layer.bias)
    torch.testing.assert_close(layer(x), expected)


def test_containers_of_parameters_and_layers():
    layer = sl.SparseLinear(12, 9, sparsity=0.6)
    parameters = nn.ParameterDict(layer.named_parameters())
    assert parameters["weights"] is layer.weights
    modules = nn.ModuleDict({"fc": layer})
    assert list(modules.values()) == [layer]
    assert [name for name, _ in modules.named_parameters()] == ["fc.weights", "fc.bias"]


@pytest.mark.parametrize("format", ["coo", "csr"])
@pytest.mark.parametrize("kind", LAYERS)
def test_penalties_and_products_of_the_weight(kind, format):
    make, shape = LAYERS[kind]
    layer = make()
    layer.format = format
    twin = scattered(layer, layer.weights.detach()).requires_grad_()
    mask, x = layer.connectivity.mask(), torch.randn(shape, dtype=torch.float64)
    bias = layer.bias.detach()
    read = {
        "L1": (lambda: layer.weight.abs().sum(), lambda: twin.abs().sum()),
        "dense": (lambda: layer.weight.to_dense().square().sum(), lambda: twin.square().sum()),
    }
    if kind == "linear":
        read["F.linear"] = (
            lambda: F.linear(x, layer.weight, bias).square().sum(),
            lambda: F.linear(x, twin, bias).square().sum(),
        )
        read["by names"] = (
            lambda: F.linear(input=x, weight=layer.weight).sum(),
            lambda: F.linear(x, twin).sum(),
        )
        read["@"] = (
            lambda: (x @ layer.weight.t()).square().sum(),
            lambda: (x @ twin.t()).square().sum(),
        )
    elif format == "coo":
        read["F.conv2d"] = (
            lambda: F.conv2d(x, layer.weight, bias, 2, padding=1).square().sum(),
            lambda: F.conv2d(x, twin.view(layer.weight_shape), bias, 2, padding=1).square().sum(),
        )
    for ours, theirs in read.values():
        torch.testing.assert_close(ours(), theirs())
        (gradient,), (expected,) = (
            torch.autograd.grad(ours(), layer.weights),
            torch.autograd.grad(theirs(), twin),
        )
        torch.testing.assert_close(gradient, expected[mask])

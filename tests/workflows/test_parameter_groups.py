"""Weight decay: what dense layers decay by, sparse layers do."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import sparselayers as sl
from tests.workflows.twin import model, twin_of


def net():
    return nn.ModuleDict(
        {
            "embed": nn.Embedding(5, 4),
            "conv": sl.SparseConv2d(1, 2, 3, sparsity=0.5),
            "norm": nn.LayerNorm(4),
            "fc": sl.SparseLinear(4, 4, sparsity=0.5),
            "head": nn.Linear(4, 4),
        }
    )


def names(module, group):
    ids = {id(parameter) for parameter in group["params"]}
    return {name for name, parameter in module.named_parameters() if id(parameter) in ids}


def test_matrices_and_sparse_weights_decay_and_nothing_else_does():
    module = net()
    decaying, others = sl.parameter_groups(module, weight_decay=0.1, lr=0.3)
    assert names(module, decaying) == {"embed.weight", "conv.weights", "fc.weights", "head.weight"}
    assert names(module, others) == {
        *("conv.bias", "norm.weight", "norm.bias", "fc.bias", "head.bias"),
    }
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert decaying["lr"] == others["lr"] == 0.3


def test_steps_are_those_of_the_masked_twin():
    sparse = model(8, 12, 4)
    twin = twin_of(sparse)
    optimizers = []
    for module, groups in (
        (sparse, sl.parameter_groups(sparse, weight_decay=0.5)),
        (
            twin,
            [
                {"params": [p for p in twin.parameters() if p.ndim >= 2], "weight_decay": 0.5},
                {"params": [p for p in twin.parameters() if p.ndim < 2], "weight_decay": 0.0},
            ],
        ),
    ):
        optimizers.append((module, torch.optim.AdamW(groups, lr=0.05)))
    for _ in range(5):
        x = torch.randn(6, 8)
        for module, optimizer in optimizers:
            optimizer.zero_grad()
            module(x).square().sum().backward()
            optimizer.step()
    for layer, dense in zip(sparse, twin, strict=True):
        if isinstance(layer, sl.SparseLinear):
            expected = dense.weight[layer.connectivity.mask()].float()
            torch.testing.assert_close(layer.weights, expected, rtol=1e-3, atol=1e-4)


def test_frozen_tied_and_parametrized_parameters():
    module = net()
    module["head"].weight = module["embed"].weight  # tied, (5, 4): one parameter
    module["conv"].weights.requires_grad_(False)
    parametrizations.weight_norm(module["fc"], "weights", dim=None)
    decaying, _ = sl.parameter_groups(module)
    assert names(module, decaying) == {"embed.weight", "fc.parametrizations.weights.original1"}
    assert len(decaying["params"]) == 2


def test_a_bias_as_long_as_there_are_connections_is_a_bias():
    layer = sl.SparseLinear(4, 4, connectivity=torch.eye(4).bool())
    decaying, others = sl.parameter_groups(layer)
    assert (decaying["params"][0] is layer.weights, others["params"][0] is layer.bias) == (1, 1)


def test_the_groups_hold_after_pruning():
    sparse = model(20, 30, 10, sparsity=0.1)
    optimizer = torch.optim.AdamW(sl.parameter_groups(sparse))
    pruner = sl.Pruner(
        sparse, optimizer, sl.Gradual(final=0.8, initial=0.1, stop_after=2, update_every=1)
    )
    for _ in range(3):
        optimizer.zero_grad()
        sparse(torch.randn(4, 20)).sum().backward()
        optimizer.step()
        pruner.step()
    decaying = optimizer.param_groups[0]["params"]
    assert [p.numel() for p in decaying] == [sparse[0].weights.numel(), sparse[2].weights.numel()]


def test_some_that_shall_not_decay():
    module = net()
    for skip in (["embed.weight"], "embed.weight", lambda name, _: name.startswith("embed")):
        decaying, _ = sl.parameter_groups(module, skip=skip)
        assert names(module, decaying) == {"conv.weights", "fc.weights", "head.weight"}


def test_bad_input():
    with pytest.raises(ValueError, match="weight_decay must not be negative, got -1"):
        sl.parameter_groups(net(), weight_decay=-1)
    with pytest.raises(ValueError, match="no parameter 'fc' to skip"):
        sl.parameter_groups(net(), skip=["fc"])
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        sl.parameter_groups(nn.ReLU())
    with pytest.raises(TypeError, match="params are chosen here"):
        sl.parameter_groups(net(), params=[])

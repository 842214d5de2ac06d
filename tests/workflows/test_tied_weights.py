"""Two layers with one parameter: what changes the connections of one is refused, and says why."""

import copy

import pytest
import torch
from torch import nn

import sparselayers as sl
from sparselayers.compat import prune_sparse_model
from sparselayers.prune import prune_to_sparsity

TIED = "'decoder' and 'encoder' share one parameter|'encoder' and 'decoder' share one parameter"


class Tied(nn.Module):
    def __init__(self, **arguments):
        super().__init__()
        self.first = sl.SparseLinear(8, 8, sparsity=0.5)
        self.encoder = sl.SparseLinear(8, 8, sparsity=0.5, **arguments)
        connectivity = self.encoder.connectivity
        self.decoder = sl.SparseLinear(8, 8, connectivity=connectivity, **arguments)
        self.decoder.weights = self.encoder.weights

    def forward(self, x):
        return self.decoder(torch.relu(self.encoder(self.first(x))))


def assert_refused(model, call, message=TIED, error=ValueError):
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error, match=message):
        call()
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in after)


@pytest.mark.parametrize("rule", [sl.RigL, sl.SET])
def test_rewirers(rule):
    model = Tied()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert_refused(model, lambda: rule(model, optimizer, stop_after=9))


@pytest.mark.parametrize("rule", [sl.RigL, sl.SET])
def test_layers_that_were_tied_later(rule):
    model = Tied()
    model.decoder.weights = nn.Parameter(model.decoder.weights.detach().clone())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rewirer = rule(model, optimizer, update_every=1, stop_after=9)
    model.decoder.weights = model.encoder.weights
    model(torch.randn(3, 8)).sum().backward()
    optimizer.step()
    assert_refused(model, rewirer.step)


def test_pruning():
    model = Tied()
    schedule = sl.Gradual(final=0.8, stop_after=2, update_every=1)
    assert_refused(model, lambda: sl.Pruner(model, None, schedule))
    assert_refused(model, lambda: sl.Pruner(model, None, schedule, skip=["encoder"]))
    for skip in ([], ["encoder"], ["decoder"]):
        assert_refused(model, lambda skip=skip: prune_to_sparsity(model, 0.8, skip=skip))
    assert_refused(model, lambda: prune_to_sparsity(model, 0.8, distribution="global"))
    assert_refused(model, lambda: prune_sparse_model(model, torch.randn(2, 8)))


def test_the_other_layers_are_pruned():
    model = Tied()
    assert prune_to_sparsity(model, 0.75, skip=["encoder", "decoder"]) == 16
    assert prune_to_sparsity(model, 0.3) == 0  # nothing to remove, nothing to refuse


def test_layers_that_rewire_themselves():
    model = Tied(dynamic=True, update_every=1, stop_after=9)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    model(torch.randn(3, 8)).sum().backward()
    assert_refused(model, optimizer.step, "share one parameter")


def test_one_layer_in_two_places_is_one_layer():
    layer = sl.SparseLinear(8, 8, sparsity=0.5, dtype=torch.float64)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    rewirer = sl.RigL(model, optimizer, update_every=1, stop_after=9)
    dense, x = layer.to_dense(), torch.randn(3, 8, dtype=torch.float64)
    mask = layer.connectivity.mask()
    model(x).square().sum().backward()
    optimizer.step()
    rewirer.step()
    dense(torch.tanh(dense(x))).square().sum().backward()
    grown = layer.connectivity.mask() & ~mask
    absent = dense.weight.grad.abs().masked_fill(mask, 0)
    assert int(grown.sum()) == int(rewirer.share(1) * 32)
    assert absent[grown].min() >= absent[~grown].max()

"""Top-KAST against the same steps with dense weights and two masks."""

import pytest
import torch
from torch import nn

import sparselayers as sl
from sparselayers.prune import prune_to_sparsity

SHAPE = 6, 10


def layer_and_masks():
    """A layer of 30 connections, the dense weight, and which of its places are in B and in A."""
    layer = sl.SparseLinear(10, 6, sparsity=0.5)
    explore = sl.TopKAST(nn.Sequential(layer), sparsity=0.8, update_every=2)
    stored = layer.connectivity.mask()
    weight = torch.zeros(SHAPE, dtype=torch.float64)
    weight[stored] = layer.parametrizations.weights.original.detach().double()
    largest = weight.abs().flatten().argsort(descending=True)[:12]
    used = torch.zeros(60, dtype=torch.bool)
    used[largest] = True
    return layer, explore, weight, stored, used.view(SHAPE)


def test_only_the_largest_count_and_all_are_trained():
    layer, explore, weight, stored, used = layer_and_masks()
    assert torch.equal(explore.active("0"), used[stored])
    x, dy = torch.randn(7, 10, requires_grad=True), torch.randn(7, 6)
    y = layer(x)
    y.backward(dy)
    expected = x.detach().double() @ (weight * used).T + layer.bias.detach().double()
    torch.testing.assert_close(y, expected.float())
    torch.testing.assert_close(x.grad, (dy.double() @ (weight * used)).float())
    gradient = layer.parametrizations.weights.original.grad
    expected = (dy.double().T @ x.detach().double())[stored]
    torch.testing.assert_close(gradient, expected.float())


def test_the_penalty_is_larger_where_nothing_is_used_yet():
    layer, explore, weight, stored, used = layer_and_masks()
    penalty = explore.penalty()
    share = 12 / 60
    expected = weight[used].abs().sum() + (weight[stored & ~used].abs() / share).sum()
    torch.testing.assert_close(penalty, expected.float())
    penalty.backward()
    gradient = layer.parametrizations.weights.original.grad.double()
    signs = weight.sign() * torch.where(used, 1.0, 1 / share)
    torch.testing.assert_close(gradient, signs[stored])


def test_what_grew_is_used_after_the_next_choice():
    layer, explore, _, _, _ = layer_and_masks()
    weights = layer.parametrizations.weights.original
    slumbering = int((~explore.active("0")).nonzero()[0])
    with torch.no_grad():
        weights[slumbering] = 9.0
    explore.step()
    assert not explore.active("0")[slumbering]
    explore.step()
    assert explore.active("0")[slumbering]
    assert int(explore.active("0").sum()) == 12
    assert layer.weights.detach()[slumbering] == 9.0


def test_the_end_leaves_what_is_used_and_the_optimizer_follows():
    model = nn.Sequential(sl.SparseLinear(10, 6, sparsity=0.5), nn.ReLU(), nn.Linear(6, 2))
    explore = sl.TopKAST(model, sparsity=0.8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = torch.randn(5, 10)
    for _ in range(3):
        optimizer.zero_grad()
        (model(x).square().mean() + 1e-3 * explore.penalty()).backward()
        optimizer.step()
        explore.step()
    explore.update_every = 1
    explore.step()
    before, used = model(x), explore.active("0")
    weights = model[0].parametrizations.weights.original
    momentum = optimizer.state[weights]["momentum_buffer"][used].clone()
    explore.finish(optimizer)
    assert type(model[0]) is sl.SparseLinear
    assert model[0].weights is weights
    assert model[0].connectivity.nnz == 12
    torch.testing.assert_close(model(x), before)
    assert torch.equal(optimizer.state[weights]["momentum_buffer"], momentum)
    model(x).sum().backward()
    optimizer.step()


def test_a_checkpoint_goes_on():
    layer, explore, _, _, _ = layer_and_masks()
    explore.step()
    again = sl.SparseLinear(10, 6, connectivity=layer.connectivity)
    other = sl.TopKAST(nn.Sequential(again), sparsity=0.8, update_every=2)
    again.load_state_dict(layer.state_dict())
    other.load_state_dict(explore.state_dict())
    assert other.steps == 1
    assert torch.equal(other.active("0"), explore.active("0"))
    x = torch.randn(3, 10)
    torch.testing.assert_close(again(x), layer(x))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sparsity": 1.0}, r"sparsity must be in \[0, 1\), got 1.0"),
        ({"sparsity": 0.4}, "0: a sparsity of 0.4 uses 36 connections, and the layer has 30"),
        ({"update_every": 0}, "update_every must be at least 1, got 0"),
    ],
)
def test_bad_settings_change_nothing(changes, message):
    layer = sl.SparseLinear(10, 6, sparsity=0.5)
    with pytest.raises(ValueError, match=message):
        sl.TopKAST(nn.Sequential(layer), **{"sparsity": 0.8} | changes)
    assert type(layer) is sl.SparseLinear


def test_frozen_layers_are_refused_and_stay_as_they_are():
    model = nn.Sequential(sl.SparseLinear(10, 6, sparsity=0.5), sl.SparseLinear(6, 6, sparsity=0.5))
    model[1].weights.requires_grad_(False)
    with pytest.raises(ValueError, match=r"TopKAST needs gradients, .* layer '1' are frozen"):
        sl.TopKAST(model, sparsity=0.8)
    assert [type(layer) for layer in model] == [sl.SparseLinear] * 2


def test_it_is_refused_twice_and_rewiring_meanwhile():
    layer, _, _, _, _ = layer_and_masks()
    with pytest.raises(ValueError, match="parametriz"):
        sl.TopKAST(nn.Sequential(layer), sparsity=0.9)
    with pytest.raises(ValueError, match="parametriz"):
        prune_to_sparsity(nn.Sequential(layer), 0.9)

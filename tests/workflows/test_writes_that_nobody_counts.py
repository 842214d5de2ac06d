"""Writes to the serialised connections that PyTorch does not count: they take effect."""

import copy

import pytest
import torch

import sparselayers as sl


def pair():
    return [
        sl.SparseLinear(12, 9, sparsity=0.5, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 1)
    ]


def data(target, source):
    for name in ("row_ptr", "col"):
        getattr(target, name).data.copy_(getattr(source, name))
    target.weights.data.copy_(source.weights)
    target.bias.data.copy_(source.bias)


def broadcast(target, source):
    """What a broadcast over a state dict does: it writes into the memory of every tensor."""
    for name, tensor in target.state_dict().items():
        tensor.detach().numpy()[...] = source.state_dict()[name].numpy()


def through_a_kept_state_dict(target, source):
    kept = target.state_dict()
    target(torch.randn(2, 12))  # uses come between
    for name, tensor in source.state_dict().items():
        kept[name].data.copy_(tensor)


@pytest.mark.parametrize("write", [data, broadcast, through_a_kept_state_dict])
def test_they_take_effect(write):
    target, source = pair()
    x = torch.randn(4, 12, requires_grad=True)
    target(x).sum().backward()  # all is derived
    write(target, source)
    assert torch.equal(target(x), source(x))
    gradients = [
        torch.autograd.grad(layer(x).square().sum(), [x, layer.weights])
        for layer in (target, source)
    ]
    torch.testing.assert_close(*gradients)
    assert target.connectivity.equals(source.connectivity)


def test_averaging_the_indices_is_refused():
    target, source = pair()
    for mine, other in zip(target.state_dict().values(), source.state_dict().values(), strict=True):
        mine.copy_((0.5 * mine + 0.5 * other).to(mine.dtype))
    with pytest.raises(ValueError, match=r"columns must ascend|row_ptr|outside"):
        target(torch.randn(4, 12))


def test_nothing_is_compared_once_nobody_holds_it():
    layer, _ = pair()
    layer.state_dict()
    layer(torch.randn(2, 12))
    assert not layer._connections._shown.held
    kept = layer.state_dict()
    layer(torch.randn(2, 12))
    assert layer._connections._shown.held
    del kept
    layer(torch.randn(2, 12))
    assert not layer._connections._shown.held


def test_a_state_dict_that_is_kept_follows_the_layer_or_stays_whole():
    layer, source = pair()
    kept = layer.state_dict()
    layer.set_connections(source.connectivity, source.weights.detach())
    assert torch.equal(kept["col"], source.col)
    assert torch.equal(kept["weights"], source.weights)
    before = copy.deepcopy(kept)
    layer.load_state_dict(sl.SparseLinear(12, 9, sparsity=0.2).state_dict())  # of another size
    for name in ("weights", "row_ptr", "col"):
        assert torch.equal(kept[name], before[name]), name

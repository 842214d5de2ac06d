"""Averages of models that are rewired, against dense averages under the mask of the day."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn
from torch.optim import swa_utils

import sparselayers as sl
from sparselayers.prune import prune_to_sparsity

DECAY = 0.8
KINDS = {
    "mean": {},
    "ema": {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(DECAY)},
    "ema, one by one": {"avg_fn": swa_utils.get_ema_avg_fn(DECAY)},
}


def make_model(seed=0, sparsity=0.6):
    generator = torch.Generator().manual_seed(seed)
    first = sl.SparseLinear(10, 12, sparsity=sparsity, generator=generator)
    second = sl.SparseConv2d(3, 4, 2, sparsity=sparsity, generator=generator)
    model = nn.Sequential(first, nn.BatchNorm1d(12), nn.Unflatten(1, (3, 2, 2)), second)
    return model.double()


def sparse_layers(model):
    return [m for m in model.modules() if isinstance(m, sl.SparseLinear | sl.SparseConv2d)]


def dense(model):
    return [layer.to_dense().weight.detach().flatten(1) for layer in sparse_layers(model)]


class Oracle:
    """The average of dense weights, in which what goes becomes 0."""

    def __init__(self, kind):
        self.kind, self.count, self.averages = kind, 0, None

    def update(self, model):
        weights = dense(model)
        share = 1 / (self.count + 1) if self.kind == "mean" or self.count == 0 else 1 - DECAY
        before = self.averages or weights
        self.averages = [a + share * (w - a) for a, w in zip(before, weights, strict=True)]
        self.count += 1
        self.changed(model)

    def changed(self, model):
        masks = [layer.connectivity.mask() for layer in sparse_layers(model)]
        self.averages = [a * mask for a, mask in zip(self.averages, masks, strict=True)]

    def assert_is(self, averaged, model):
        for own, theirs in zip(sparse_layers(averaged), sparse_layers(model), strict=True):
            assert own.connectivity.equals(theirs.connectivity)
        for own, expected in zip(dense(averaged), self.averages, strict=True):
            torch.testing.assert_close(own, expected)
        assert averaged.n_averaged == self.count


def change_with(how, model, optimizer):
    """What is to be called after each step, and changes connections now and then."""
    if how == "prune":
        schedule = sl.Gradual(final=0.9, initial=0.6, stop_after=8, update_every=2)
        return sl.Pruner(model, optimizer, schedule).step
    if how == "load":
        others = iter(
            [make_model(seed, sparsity=0.5 + seed / 20).state_dict() for seed in range(9)]
        )
        return lambda: model.load_state_dict(next(others), strict=False)
    rule = {"rigl": sl.RigL, "set": sl.SET}[how]
    return rule(model, optimizer, update_every=2, stop_after=9, fraction=0.5).step


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("how", ["rigl", "set", "prune", "load"])
def test_an_average_follows(how, kind, use_buffers):
    model = make_model()
    if use_buffers and kind == "mean":  # PyTorch's mean divides no integers: the batches counted
        model[1] = nn.BatchNorm1d(12, track_running_stats=False).double()
    # A state that was made for other weights does not fit those that are loaded: SGD has none.
    make = torch.optim.SGD if how == "load" else torch.optim.Adam
    optimizer = make(model.parameters(), lr=0.05)
    change = change_with(how, model, optimizer)
    averaged, oracle = sl.AveragedModel(model, use_buffers=use_buffers, **KINDS[kind]), Oracle(kind)
    generator = torch.Generator().manual_seed(3)
    for step in range(8):
        x = torch.randn(6, 10, generator=generator, dtype=torch.float64)
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        if step % 3 != 1:  # some changes come two at a time
            averaged.update_parameters(model)
            oracle.update(model)
        change()
        oracle.changed(model)
        oracle.assert_is(averaged, model)
        averaged(x)


def test_a_layer_that_rewires_itself():
    layer = sl.SparseLinear(10, 12, sparsity=0.6, dynamic=True, update_every=2, stop_after=9)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    averaged = sl.AveragedModel(layer)
    before = layer.connectivity.mask()
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.randn(4, 10)).square().sum().backward()
        optimizer.step()
        averaged.update_parameters(layer)
        assert averaged.module.connectivity.equals(layer.connectivity)
    assert not torch.equal(layer.connectivity.mask(), before)


def test_a_connection_that_went_and_came_back_begins_anew():
    layer = sl.SparseLinear(6, 5, sparsity=0)
    averaged, values = sl.AveragedModel(layer), layer.weights.detach().clone()
    averaged.update_parameters(layer)
    connectivity = layer.connectivity
    layer.set_connections(connectivity.select(values > 0), values[values > 0])
    layer.set_connections(connectivity, values)
    expected = values.clamp(min=0)
    assert torch.equal(averaged.module.weights, expected)


def test_state_dicts_and_copies():
    model = make_model()
    averaged = sl.AveragedModel(model, avg_fn=swa_utils.get_ema_avg_fn(DECAY))
    averaged.update_parameters(model)
    prune_to_sparsity(model, 0.8)
    averaged.update_parameters(model)
    other = sl.AveragedModel(make_model(1), avg_fn=averaged.avg_fn)
    other.load_state_dict(averaged.state_dict())
    copied = copy.deepcopy(averaged)
    prune_to_sparsity(model, 0.85)
    with torch.no_grad():
        sparse_layers(model)[0].weights.add_(1)
    for each in (averaged, other, copied):
        each.update_parameters(model)
        assert each.n_averaged == 3
        for name, tensor in averaged.state_dict().items():
            assert torch.equal(each.state_dict()[name], tensor)
    theirs = swa_utils.AveragedModel(model).state_dict()
    assert list(theirs) == list(averaged.state_dict())


def test_the_batch_norms_of_an_average_are_made_anew():
    model = make_model()
    averaged = sl.AveragedModel(model)
    for _ in range(3):
        averaged.update_parameters(model)
        prune_to_sparsity(model, 0.8)
    batches = [torch.randn(6, 10, dtype=torch.float64) for _ in range(4)]
    swa_utils.update_bn(batches, averaged)
    seen = torch.cat([averaged.module[0](x) for x in batches]).detach()
    torch.testing.assert_close(averaged.module[1].running_mean, seen.mean(0))


def test_a_model_does_not_keep_its_averages():
    model = make_model()
    averaged = sl.AveragedModel(model)
    layers = [weakref.ref(layer) for layer in sparse_layers(averaged)]
    assert all(len(layer._connections.hooks) == 1 for layer in sparse_layers(model))
    del averaged
    gc.collect()
    assert all(layer() is None for layer in layers)
    assert not any(layer._connections.hooks for layer in sparse_layers(model))
    prune_to_sparsity(model, 0.9)


def test_another_model_is_refused():
    averaged = sl.AveragedModel(make_model())
    with pytest.raises(ValueError, match="has sparse layers of shapes"):
        averaged.update_parameters(nn.Sequential(sl.SparseLinear(3, 4)))
    with pytest.raises(AssertionError, match="Only one of avg_fn and multi_avg_fn"):
        sl.AveragedModel(make_model(), avg_fn=lambda a, b, n: a, multi_avg_fn=lambda a, b, n: None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("rewired", [False, True])
def test_the_class_of_pytorch_works_or_raises(kind, use_buffers, rewired):
    layers = sl.SparseLinear(10, 12, sparsity=0.6), sl.SparseLinear(12, 4, sparsity=0.6)
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1])
    averaged = swa_utils.AveragedModel(model, use_buffers=use_buffers, **KINDS[kind])
    ours = sl.AveragedModel(model, use_buffers=use_buffers, **KINDS[kind])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rewirer = sl.SET(model, optimizer, update_every=30, stop_after=99)
    for step in range(60):
        optimizer.zero_grad()
        model(torch.randn(4, 10)).square().sum().backward()
        optimizer.step()
        if step < 29 or rewired:
            rewirer.step()
        averaged.update_parameters(model)
        ours.update_parameters(model)
    x = torch.randn(4, 10)
    if rewired:
        with pytest.raises(RuntimeError, match=r"use sparselayers\.AveragedModel"):
            averaged(x)
    else:
        assert torch.equal(averaged(x), ours(x))

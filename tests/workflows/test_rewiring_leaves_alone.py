"""What a rewiring leaves as it is: layers that do not train, and everything where it is refused."""

import pytest
import torch
from torch import nn

import sparselayers as sl
from tests.workflows.twin import model as sparse_model

RULES = [sl.RigL, sl.SET]


def begin(rule, *sizes, dtype=None, **settings):
    net = sparse_model(*sizes).to(dtype)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    rewirer = rule(net, optimizer, update_every=2, stop_after=99, decay="constant", **settings)
    return net, optimizer, rewirer


def layers_of(net):
    return [layer for layer in net.modules() if isinstance(layer, sl.SparseLinear)]


def masks(net):
    return [layer.connectivity.mask() for layer in layers_of(net)]


def changed(net, before):
    return [not torch.equal(a, b) for a, b in zip(masks(net), before, strict=True)]


def steps(net, optimizer, rewirer, count=2, loss=lambda net, x: net(x).square().sum()):
    for _ in range(count):
        optimizer.zero_grad()
        loss(net, torch.randn(8, 10)).backward()
        optimizer.step()
        rewirer.step()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("when", ["before", "after a step", "with a gradient"])
def test_frozen_layers(rule, when):
    net, optimizer, rewirer = begin(rule, 10, 12, 14, 6)
    before, frozen = masks(net), net[2]
    if when != "before":
        steps(net, optimizer, rewirer, 1)
    if when == "with a gradient":
        optimizer.zero_grad()
        net(torch.randn(8, 10)).sum().backward()
    frozen.requires_grad_(False)
    if when == "with a gradient":
        optimizer.step()
        rewirer.step()
    else:
        steps(net, optimizer, rewirer, 2 if when == "before" else 1)
    assert changed(net, before) == [True, False, True]
    frozen.requires_grad_()
    steps(net, optimizer, rewirer)
    assert changed(net, before) == [True, True, True]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("set_to_none", [True, False])
def test_layers_that_no_step_used(rule, set_to_none):
    """Here every second step goes without the layer in the middle, and those steps rewire."""
    net, optimizer, rewirer = begin(rule, 10, 10, 10, 6)
    before = masks(net)
    for step in range(4):
        optimizer.zero_grad(set_to_none=set_to_none)
        h = net[0](torch.randn(8, 10))
        net[4](h if step % 2 else net[2](h)).square().sum().backward()
        optimizer.step()
        rewirer.step()
    assert changed(net, before) == [True, False, True]


def weights_penalty(net, x):
    return net(x).square().sum() + net[0].weights.abs().sum()


def product_with_the_weight(net, x):
    return net[2](nn.functional.linear(x, net[0].weight)).square().sum()


@pytest.mark.parametrize("loss", [weights_penalty, product_with_the_weight])
def test_gradients_that_did_not_come_through_the_layer(loss):
    net, optimizer, rewirer = begin(sl.RigL, 10, 12, 6)
    before = masks(net)
    with pytest.raises(RuntimeError, match=r"layer '0': what went through .* does not add up"):
        steps(net, optimizer, rewirer, 2, loss)
    assert changed(net, before) == [False, False]
    steps(*begin(sl.SET, 10, 12, 6), 2, loss)
    net, optimizer, rewirer = begin(sl.RigL, 10, 12, 6, check_gradient=False)
    steps(net, optimizer, rewirer, 2, weights_penalty)
    assert changed(net, before) == [True, True]


def test_the_last_layer_disagrees_and_the_first_stays():
    net, optimizer, rewirer = begin(sl.RigL, 10, 12, 6)
    before = masks(net)
    with pytest.raises(RuntimeError, match="layer '2'"):
        steps(net, optimizer, rewirer, 2, lambda net, x: net(x).sum() + net[2].weights.sum())
    assert changed(net, before) == [False, False]


@pytest.mark.parametrize("how", ["by hand", "noise", "never zeroed", "a part is masked"])
def test_gradients_that_are_not_those_of_the_loss(how):
    net, optimizer, rewirer = begin(sl.RigL, 10, 12, 6)
    before = masks(net)
    for step in range(2):
        if how != "never zeroed":
            optimizer.zero_grad()
        loss, parameters = net(torch.randn(8, 10)).square().sum(), list(net.parameters())
        if how == "by hand":
            gradients = torch.autograd.grad(loss, parameters)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
        else:
            loss.backward()
        grad = net[0].weights.grad
        if how == "noise":
            grad.add_(torch.randn_like(grad), alpha=float(grad.std()))
        if how == "a part is masked":
            grad[::3] = 0
        optimizer.step()
        if step == 0:
            rewirer.step()
    with pytest.raises(RuntimeError, match="does not add up"):
        rewirer.step()
    assert changed(net, before) == [False, False]


def test_an_optimizer_whose_state_cannot_follow():
    net = sparse_model(10, 12, 6)
    optimizer = torch.optim.LBFGS(net.parameters())
    rewirer = sl.SET(net, optimizer, update_every=1, stop_after=9)
    before, x = masks(net), torch.randn(8, 10)

    def closure():
        optimizer.zero_grad()
        loss = net(x).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with pytest.raises(ValueError, match="cannot be pruned or rewired"):
        rewirer.step()
    assert changed(net, before) == [False, False]


@pytest.mark.parametrize("rule", RULES)
def test_connections_that_were_handed_out_stay_what_they_are(rule):
    net, optimizer, rewirer = begin(rule, 10, 12, 6)
    held = [layer.connectivity for layer in layers_of(net)]
    arrays = [(c.row_ptr.clone(), c.col.clone(), c.transposed.row.clone()) for c in held]
    steps(net, optimizer, rewirer)
    for layer, kept, saved in zip(layers_of(net), held, arrays, strict=True):
        assert layer.connectivity is not kept
        now = kept.row_ptr, kept.col, kept.transposed.row
        assert all(torch.equal(a, b) for a, b in zip(now, saved, strict=True))


def rewire(net, optimizer):
    return sl.RigL(net, optimizer, update_every=1, stop_after=9)


def prune(net, optimizer):
    schedule = sl.Gradual(final=0.8, initial=0.5, stop_after=3, update_every=1)
    return sl.Pruner(net, optimizer, schedule)


@pytest.mark.parametrize("make", [rewire, prune])
def test_hooks_find_everything_changed(make):
    """Weights, gradient and the optimizer's state are those of the new connections by then."""
    net = sparse_model(10, 12, 6)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    changer, layer, told = make(net, optimizer), net[0], []

    def entries():
        state = optimizer.state[layer.weights]
        held = layer.weights, layer.weights.grad, state["exp_avg"], state["exp_avg_sq"]
        return [tensor.detach().clone() for tensor in held]

    def hook(changed, change):
        assert changed is layer
        assert change.new is layer.connectivity
        told.append([change.carry(entry) for entry in before])
        assert all(torch.equal(a, b) for a, b in zip(entries(), told[-1], strict=True))

    layer.register_topology_hook(hook)
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.randn(8, 10)).square().sum().backward()
        optimizer.step()
        before = entries()
        changer.step()
    assert told


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", ["autocast", "layers"])
@pytest.mark.parametrize(("batches", "scale"), [(1, 1), (6, 1), (2, 1e-6), (2, 1e3)])
def test_half_precision_is_no_disagreement(dtype, how, batches, scale):
    torch.manual_seed(0)
    net, optimizer, rewirer = begin(
        sl.RigL, 64, 128, 32, dtype=dtype if how == "layers" else torch.float32
    )
    before = masks(net)
    for _ in range(2):
        optimizer.zero_grad()
        for _ in range(batches):
            x = torch.randn(200, 64, dtype=net[0].weights.dtype)
            with torch.autocast("cpu", dtype=dtype, enabled=how == "autocast"):
                loss = net(x).square().mean()
            (scale * loss).backward()
        optimizer.step()
        rewirer.step()
    assert changed(net, before) == [True, True]


def test_a_sum_that_cancels_is_no_disagreement():
    """At the minimum of a regression the gradients of the samples add up to nothing but noise."""
    torch.manual_seed(0)
    layer = sl.SparseLinear(20, 10, sparsity=0.5)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.3)
    x, target = torch.randn(500, 20), torch.randn(500, 10)
    for _ in range(300):
        optimizer.zero_grad()
        (layer(x) - target).square().sum(1).mean().backward()
        optimizer.step()
    assert layer.weights.grad.abs().max() < 1e-5
    rewirer = sl.RigL(layer, optimizer, update_every=1, stop_after=9)
    before = layer.connectivity.mask()
    optimizer.zero_grad()
    (layer(x) - target).square().sum(1).mean().backward()
    optimizer.step()
    rewirer.step()
    assert not torch.equal(layer.connectivity.mask(), before)


@pytest.mark.parametrize("samples", [1_000, 20_000])
def test_a_sum_whose_second_half_undoes_its_first_is_not_refused(samples):
    """As where a network has converged and samples are sorted: sums on the way are large."""
    torch.manual_seed(0)
    layer = sl.SparseLinear(20, 10, sparsity=0.5)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3)
    rewirer = sl.RigL(layer, optimizer, update_every=1, stop_after=9)
    half = samples // 2
    x = (torch.rand(half, 20) + 1).repeat(2, 1)
    dy = torch.randn(10) * (1 + torch.rand(half, 1)).repeat(2, 1)
    dy[half:] *= -1
    layer(x).backward(dy)
    optimizer.step()
    before = layer.connectivity.mask()
    rewirer.step()
    assert not torch.equal(layer.connectivity.mask(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_who_asks_again_by_how_much_gradients_differ_hears_the_same(dtype):
    class Asking(sl.RigL):
        def grow(self, site, count):
            grown = super().grow(site, count)
            first = site.agreement.difference()
            told.append(first == site.agreement.difference() < 1)
            return grown

    told = []
    layer = sl.SparseLinear(20, 10, sparsity=0.5, dtype=dtype)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewirer = Asking(layer, optimizer, update_every=1, stop_after=9)
    x = torch.randn(5, 20, dtype=dtype)
    steps(layer, optimizer, rewirer, 1, lambda net, _: net(x).square().sum())
    assert told == [True]


def test_optimizers_that_write_into_gradients():
    """As several of timm do, to add their weight decay."""

    class Decaying(torch.optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.grad.add_(p.detach(), alpha=100)
            return super().step(closure)

    net = sparse_model(10, 12, 6)
    optimizer = Decaying(net.parameters(), lr=1e-4)
    rewirer = sl.RigL(net, optimizer, update_every=1, stop_after=9)
    before = masks(net)
    steps(net, optimizer, rewirer, 1)
    assert changed(net, before) == [True, True]

"""RigL grows where the gradient that the optimizer got is largest, however the loop made it.

Every loop below runs twice: on sparse layers with a RigL, and on dense ones of the same weights,
zeros included. What has grown must be the largest entries of the dense weight's `.grad`.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import sparselayers as sl


class Net(nn.Module):
    """Two layers of one kind; `h` is what comes between them."""

    def __init__(self, one, two):
        super().__init__()
        self.one, self.two = one, two

    def forward(self, x):
        return self.two(torch.tanh(self.one(x)))


def sparse_net():
    generator = torch.Generator().manual_seed(0)
    make = {"sparsity": 0.8, "dtype": torch.float64, "generator": generator}
    return Net(sl.SparseLinear(12, 12, **make), sl.SparseLinear(12, 8, **make))


def batch(seed=0, size=6):
    generator = torch.Generator().manual_seed(seed)
    x, target = (torch.randn(size, n, generator=generator, dtype=torch.float64) for n in (12, 8))
    return x, target


def loss_of(net, x, target):
    return F.mse_loss(net(x), target, reduction="sum")


def plain(net, optimizer):
    optimizer.zero_grad()
    loss_of(net, *batch()).backward()
    optimizer.step()


def accumulated(net, optimizer):
    optimizer.zero_grad()
    for seed in range(3):
        (loss_of(net, *batch(seed)) / 3).backward()
    optimizer.step()


def zeroed_in_place(net, optimizer):
    loss_of(net, *batch(1)).backward()
    optimizer.zero_grad(set_to_none=False)
    loss_of(net, *batch()).backward()
    optimizer.step()


def adversarial_examples(net, optimizer):
    x, target = batch()
    for _ in range(3):
        x.requires_grad_()
        (slope,) = torch.autograd.grad(100 * loss_of(net, x, target), x)
        x = (x + 0.1 * slope.sign()).detach()
    optimizer.zero_grad()
    loss_of(net, x, target).backward()
    optimizer.step()


def fast_gradient_sign(net, optimizer):
    x, target = batch()
    x.requires_grad_()
    loss_of(net, x, target).backward()
    optimizer.zero_grad()
    loss_of(net, (x + 0.1 * x.grad.sign()).detach(), target).backward()
    optimizer.step()


def saliency_between_backward_and_step(net, optimizer):
    optimizer.zero_grad()
    loss_of(net, *batch()).backward()
    x = batch(5)[0].requires_grad_()
    torch.autograd.grad(1000 * net(x).sum(), x)
    optimizer.step()


def only_some_inputs(net, optimizer):
    optimizer.zero_grad()
    x = batch(5)[0].requires_grad_()
    (1000 * net(x).sum()).backward(inputs=[x])
    loss_of(net, *batch()).backward()
    optimizer.step()


def gradient_penalty(net, optimizer):
    optimizer.zero_grad()
    x, target = batch()
    x.requires_grad_()
    (slope,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
    (loss_of(net, x, target) + 10 * (slope.norm(dim=1) - 1).square().mean()).backward()
    optimizer.step()


def penalty_alone(net, optimizer):
    optimizer.zero_grad()
    x = batch()[0].requires_grad_()
    (slope,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    optimizer.step()


def a_batch_of_nans_is_skipped(net, optimizer):
    for scale in (float("nan"), 1.0):
        x, target = batch()
        optimizer.zero_grad()
        loss = loss_of(net, scale * x, target)
        loss.backward()
        if not loss.isfinite():
            continue
        optimizer.step()


def two_players(net, optimizer):
    """The second player's pass comes through this one on its way, and is thrown away."""
    optimizer.zero_grad()
    loss_of(net, *batch()).backward()
    loss_of(net, *batch(1)).backward()
    optimizer.step()
    other = nn.Linear(12, 12, dtype=torch.float64)
    (100 * net(other(batch(2)[0])).sum()).backward()


def thrown_away_between(net, optimizer):
    (100 * loss_of(net, *batch(3))).backward()
    net.zero_grad()
    loss_of(net, *batch()).backward()
    optimizer.step()


def sharpness_aware(net, optimizer):
    optimizer.zero_grad()
    loss_of(net, *batch()).backward()
    moved = [(p, 0.1 * p.grad / p.grad.norm()) for p in net.parameters() if p.dim() == 1]
    moved = [(p, move) for p, move in moved if p in {net.one.bias, net.two.bias}]
    with torch.no_grad():
        for p, move in moved:
            p.add_(move)
    optimizer.zero_grad()
    loss_of(net, *batch()).backward()
    with torch.no_grad():
        for p, move in moved:
            p.sub_(move)
    optimizer.step()


def forward_is_called_directly(net, optimizer):
    optimizer.zero_grad()
    x, target = batch()
    F.mse_loss(net.two.forward(net.one.forward(x)), target).backward()
    optimizer.step()


def a_static_input_is_refilled(net, optimizer):
    optimizer.zero_grad()
    static = torch.empty(6, 12, dtype=torch.float64)
    for seed in range(3):
        x, target = batch(seed)
        static.copy_(x)
        loss_of(net, static, target).backward()
    static.fill_(7)
    optimizer.step()


def a_static_gradient_is_refilled(net, optimizer):
    optimizer.zero_grad()
    dy = torch.empty(6, 8, dtype=torch.float64)
    for seed in range(3):
        x, target = batch(seed)
        dy.copy_(target)
        net(x).backward(dy)
    dy.fill_(7)
    optimizer.step()


def residuals_in_place(net, optimizer):
    optimizer.zero_grad()
    h = batch()[0] * 1
    h = h.add_(net.one(h.clone()))
    F.relu(net.two(h), inplace=True).square().sum().backward()
    optimizer.step()


def checkpointed(net, optimizer, *, use_reentrant):
    optimizer.zero_grad()
    x, target = batch()
    h = checkpoint(net.one, x.requires_grad_(), use_reentrant=use_reentrant)
    F.mse_loss(checkpoint(net.two, h, use_reentrant=use_reentrant), target).backward()
    optimizer.step()


def checkpointed_again(net, optimizer):
    checkpointed(net, optimizer, use_reentrant=False)


def checkpointed_within(net, optimizer):
    checkpointed(net, optimizer, use_reentrant=True)


def twice_through_one_graph(net, optimizer):
    optimizer.zero_grad()
    y = net(batch()[0])
    y.square().sum().backward(retain_graph=True)
    y.sin().sum().backward()
    optimizer.step()


def used_twice_in_one_pass(net, optimizer):
    optimizer.zero_grad()
    x, target = batch()
    F.mse_loss(net.two(net.one(torch.tanh(net.one(x)))), target).backward()
    optimizer.step()


def in_a_closure(net, optimizer):
    def closure():
        optimizer.zero_grad()
        loss = loss_of(net, *batch())
        loss.backward()
        return loss

    loss_of(net, *batch(4)).backward()
    optimizer.step(closure)


def clipped_by_norm(net, optimizer):
    optimizer.zero_grad()
    loss_of(net, *batch()).backward()
    nn.utils.clip_grad_norm_([p for p in net.parameters() if p.dim() < 3], 1e-3)
    optimizer.step()


def clipped_by_value(net, optimizer):
    optimizer.zero_grad()
    loss_of(net, *batch()).backward()
    nn.utils.clip_grad_value_(net.parameters(), 0.5)
    optimizer.step()


def sequences(net, optimizer):
    optimizer.zero_grad()
    x, target = batch(size=20)
    loss_of(net, x.view(2, 5, 2, 12), target.view(2, 5, 2, 8)).backward()
    optimizer.step()


def zeroed_after_the_step(net, optimizer):
    plain(net, optimizer)
    optimizer.zero_grad()


LOOPS = [
    plain,
    accumulated,
    zeroed_in_place,
    adversarial_examples,
    fast_gradient_sign,
    saliency_between_backward_and_step,
    only_some_inputs,
    gradient_penalty,
    penalty_alone,
    a_batch_of_nans_is_skipped,
    two_players,
    thrown_away_between,
    sharpness_aware,
    forward_is_called_directly,
    a_static_input_is_refilled,
    a_static_gradient_is_refilled,
    residuals_in_place,
    checkpointed_again,
    checkpointed_within,
    twice_through_one_graph,
    used_twice_in_one_pass,
    in_a_closure,
    clipped_by_norm,
    clipped_by_value,
    sequences,
    zeroed_after_the_step,
]


def gradients_at_the_step(net, loop):
    """The dense weights' gradients when the optimizer makes its step, before they are clipped."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    found = []
    optimizer.register_step_pre_hook(
        lambda *_: found.append([net.one.weight.grad.clone(), net.two.weight.grad.clone()])
    )
    optimizer.register_step_post_hook(
        lambda *_: found.append([net.one.weight.grad.clone(), net.two.weight.grad.clone()])
    )
    loop(net, optimizer)
    return found[-1]


def largest_absent(gradient, mask, count):
    grown = torch.zeros(mask.numel(), dtype=torch.bool)
    grown[gradient.abs().masked_fill(mask, -1).flatten().topk(count).indices] = True
    return grown.view(mask.shape)


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_what_grows(loop):
    net = sparse_net()
    dense = Net(net.one.to_dense(), net.two.to_dense())
    clipping = nn.utils.clip_grad_value_
    try:
        nn.utils.clip_grad_value_ = lambda *_: None  # it would make ties of the oracle's
        gradients = gradients_at_the_step(dense, loop)
    finally:
        nn.utils.clip_grad_value_ = clipping
    masks = [layer.connectivity.mask() for layer in (net.one, net.two)]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    rewirer = sl.RigL(net, optimizer, update_every=1, stop_after=9, fraction=0.5, decay="constant")
    loop(net, optimizer)
    rewirer.step()
    for layer, mask, gradient in zip((net.one, net.two), masks, gradients, strict=True):
        count = int(0.5 * layer.weights.numel())
        grown = layer.connectivity.mask() & ~mask
        assert torch.equal(grown, largest_absent(gradient, mask, count))

"""Optimizers that wrap another one, as Hugging Face's accelerate has them."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

import sparselayers as sl
from sparselayers.prune import Movement


class Wrapped(Optimizer):
    """Hands everything on, and makes nothing that an Optimizer makes: no hooks of its own."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    @property
    def state(self):
        return self.optimizer.state

    @property
    def param_groups(self):
        return self.optimizer.param_groups

    def zero_grad(self, set_to_none=True):
        self.optimizer.zero_grad(set_to_none)

    def step(self, closure=None):
        return self.optimizer.step(closure)


def trained(make, wrap):
    torch.manual_seed(0)
    model = nn.Sequential(sl.SparseLinear(12, 9, sparsity=0.7), nn.Tanh(), nn.Linear(9, 2))
    optimizer = wrap(SGD(model.parameters(), lr=0.1, momentum=0.9))
    follower = make(model, optimizer)
    data = torch.Generator().manual_seed(1)
    for _ in range(4):
        optimizer.zero_grad()
        model(torch.randn(5, 12, generator=data)).square().mean().backward()
        optimizer.step()
        follower.step()
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda model, optimizer: sl.RigL(model, optimizer, update_every=2, stop_after=10),
        lambda model, optimizer: sl.Pruner(
            model, optimizer, sl.Gradual(final=0.9, stop_after=4, update_every=1), score=Movement()
        ),
    ],
    ids=["rewired", "pruned"],
)
def test_the_optimizer_inside_is_followed(make):
    plain, wrapped = trained(make, lambda optimizer: optimizer), trained(make, Wrapped)
    assert wrapped[0].connectivity.equals(plain[0].connectivity)
    for a, b in zip(wrapped.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)

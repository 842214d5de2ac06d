"""Layers made with dynamic=True, against a RigL in the training loop."""

import copy
import gc
import math
import pickle
import weakref

import pytest
import torch
from torch import nn

import sparselayers as sl
from sparselayers.dynamic import RigL

SETTINGS = {"update_every": 3, "stop_after": 20, "fraction": 0.4}


def make_layer(dynamic=True, **arguments):
    arguments = (SETTINGS if dynamic else {}) | arguments
    generator = torch.Generator().manual_seed(0)
    return sl.SparseLinear(20, 15, sparsity=0.8, dynamic=dynamic, generator=generator, **arguments)


def train(layer, steps, *, optimizer=None, after=lambda: None, seed=1):
    generator = torch.Generator().manual_seed(seed)
    optimizer = optimizer or torch.optim.Adam(layer.parameters(), lr=0.01)
    for _ in range(steps):
        x = torch.randn(8, 20, generator=generator)
        optimizer.zero_grad()
        layer(x).square().sum().backward()
        optimizer.step()
        after()
    return optimizer


def same(one, two):
    return torch.equal(one.weight.to_dense(), two.weight.to_dense())


def test_the_layer_does_what_a_controller_does():
    alone, guided = make_layer(), make_layer(dynamic=False)
    optimizer = torch.optim.Adam(guided.parameters(), lr=0.01)
    rewirer = RigL(guided, optimizer, update_every=3, stop_after=20, fraction=0.4)
    initial = alone.connectivity.mask()
    train(alone, 7)
    train(guided, 7, optimizer=optimizer, after=rewirer.step)
    assert same(alone, guided)
    assert not torch.equal(alone.connectivity.mask(), initial)
    assert alone.weights.numel() == 60


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("steps", [4, 5])  # before and while the next step is watched
def test_copies_go_on_by_themselves(copied, steps):
    layer = make_layer()
    train(layer, steps)
    other = copied(layer)
    assert same(layer, other)
    train(layer, 3, optimizer=torch.optim.SGD(layer.parameters(), lr=0.1))
    assert not same(layer, other)
    train(other, 3, optimizer=torch.optim.SGD(other.parameters(), lr=0.1))
    assert same(layer, other)
    assert layer.state_dict()["steps"] == other.state_dict()["steps"] == steps + 3


def test_the_steps_made_are_part_of_the_state():
    whole, resumed = make_layer(), make_layer()
    optimizer = train(whole, 5)
    state = copy.deepcopy(whole.state_dict())
    assert state["steps"] == 5
    resumed.load_state_dict(state)
    other = torch.optim.Adam(resumed.parameters(), lr=0.01)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for layer, its in ((whole, optimizer), (resumed, other)):
        train(layer, 5, optimizer=its, seed=2)
    assert same(whole, resumed)


def test_static_and_dynamic_layers_exchange_states():
    dynamic, static = make_layer(), make_layer(dynamic=False)
    train(dynamic, 4)
    static.load_state_dict(dynamic.state_dict())
    assert same(dynamic, static)
    fresh = make_layer()
    fresh.load_state_dict(static.state_dict())
    assert same(fresh, static)
    assert "steps" not in static.state_dict()
    with pytest.raises(RuntimeError, match="steps must be one int32, got"):
        fresh.load_state_dict(dynamic.state_dict() | {"steps": torch.tensor([1.0])})


def test_steps_within_the_backward_pass():
    """An optimizer for each parameter that steps, and frees the gradient, once it is there."""
    layer, plain = make_layer(), make_layer()
    optimizers = {p: torch.optim.Adam([p], lr=0.01) for p in layer.parameters()}

    def step(parameter):
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in layer.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    generator = torch.Generator().manual_seed(1)
    for _ in range(7):
        layer(torch.randn(8, 20, generator=generator)).square().sum().backward()
    train(plain, 7)
    assert same(layer, plain)
    assert layer.state_dict()["steps"] == 7


def test_a_step_within_a_step_is_one():
    class Wrapping(torch.optim.Adam):
        def step(self, closure=None):
            return super().step(closure)

    layer, plain = make_layer(), make_layer()
    train(layer, 7, optimizer=Wrapping(layer.parameters(), lr=0.01))
    train(plain, 7)
    assert same(layer, plain)
    assert layer.state_dict()["steps"] == 7


def test_only_its_own_optimizer_counts():
    layer, stranger = make_layer(), nn.Linear(3, 3)
    optimizer = torch.optim.SGD(stranger.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.step()
    assert layer.state_dict()["steps"] == 0
    train(layer, 2)
    assert layer.state_dict()["steps"] == 2


def test_evaluation_changes_nothing():
    layer = make_layer()
    train(layer, 2)
    mask = layer.connectivity.mask()
    with torch.no_grad():
        for _ in range(9):
            layer.eval()(torch.randn(4, 20))
    assert torch.equal(layer.connectivity.mask(), mask)
    train(layer.train(), 1)
    assert not torch.equal(layer.connectivity.mask(), mask)


def test_a_layer_is_freed_at_once_and_its_hook_with_it():
    from torch.optim.optimizer import _global_optimizer_post_hooks as hooks

    gc.collect()
    before = len(hooks)
    layer = make_layer()
    train(layer, 5)
    assert len(hooks) == before + 1
    gone = weakref.ref(layer)
    gc.disable()
    try:
        del layer
        assert gone() is None
        assert len(hooks) == before
    finally:
        gc.enable()


def test_compiled_layers_rewire_themselves():
    layer, plain = make_layer(), make_layer()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    for _ in range(4):
        optimizer.zero_grad()
        compiled(torch.randn(8, 20, generator=generator)).square().sum().backward()
        optimizer.step()
    train(plain, 4)
    assert torch.equal(layer.connectivity.mask(), plain.connectivity.mask())
    torch.testing.assert_close(layer.weights, plain.weights)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"update_every": 0}, "update_every must be a positive integer, got 0"),
        ({"stop_after": -5}, "stop_after must be a positive integer, got -5"),
        ({"max_size": math.nan}, "max_size must be a positive integer, got nan"),
        ({"fraction": 1.5}, r"fraction must be in \[0, 1\], got 1.5"),
    ],
)
def test_settings_that_are_none(settings, message):
    with pytest.raises(ValueError, match=message):
        make_layer(**settings)


def test_published_names():
    """sparselinear's own names, as keywords and by position."""
    for layer in (
        sl.SparseLinear(20, 15, dynamic=True, deltaT=3, Tend=20, alpha=0.4, max_size=99),
        sl.SparseLinear(20, 15, True, 0.8, None, False, True, 3, 20, 0.4, 99),
    ):
        assert (layer.deltaT, layer.Tend, layer.alpha, layer.max_size) == (3, 20, 0.4, 99)
        assert (layer.update_every, layer.stop_after, layer.fraction) == (3, 20, 0.4)
        assert layer._rewirer.update_every == 3
    with pytest.raises(TypeError, match="deltaT and update_every are one argument"):
        sl.SparseLinear(20, 15, dynamic=True, deltaT=3, update_every=3)
    with pytest.raises(TypeError, match="'deltat'"):
        sl.SparseLinear(20, 15, dynamic=True, deltat=3)


def test_a_controller_leaves_dynamic_layers_alone():
    layer = make_layer()
    with pytest.raises(ValueError, match="layer '' was made with dynamic=True"):
        RigL(layer, torch.optim.SGD(layer.parameters(), lr=0.1), stop_after=9)

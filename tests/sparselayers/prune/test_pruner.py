"""Pruning: what goes is what a sort of the dense weight says, and training goes on."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import sparselayers as sl
from sparselayers.compat import (
    prune_smallest_values,
    prune_sparse_model,
    set_global_k,
    set_k,
)
from sparselayers.convert import convert, convert_model
from sparselayers.prune import (
    Gradual,
    Pruner,
    prune_to_sparsity,
    remove_connections,
)


def small_model():
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, groups=2),
        nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 10)),
        nn.Linear(10, 4),
    )
    return convert_model(model, (nn.Linear, nn.Conv2d), "csr", keep_zeros=True)


def dense_weights(model):
    return [convert(model[i] if i != 1 else model[1][2], "dense").weight.detach() for i in range(3)]


@pytest.mark.parametrize("k", [0.0, 0.1, 0.33, 0.5, 0.9])
def test_the_smallest_values_go(k):
    # ActuallySparse's example: k is a fraction of all entries.
    dense = nn.Linear(5, 2)
    with torch.no_grad():
        dense.weight.copy_(torch.arange(1.0, 11.0).view(2, 5) / 10)
    layer = convert(dense, "coo")
    layer.set_k(k)
    gone = int(k * 10)
    assert layer.prune_smallest_values() == gone
    expected = dense.weight.where(dense.weight > (gone + 0.5) / 10, torch.zeros(()))
    assert torch.equal(layer.weight.to_dense(), expected)


def test_k_counts_all_entries_every_time():
    layer = sl.SparseLinear(10, 10, sparsity=0.5)
    set_k(layer, 0.07)  # 0.07 · 100 is a little less than 7 in floating point
    assert [prune_smallest_values(layer) for _ in range(7)] == [7] * 7
    before = layer.state_dict()
    with pytest.raises(
        ValueError, match=r"removes 7 connections of a layer of shape .* that has 1"
    ):
        prune_smallest_values(layer)
    assert layer.weights.numel() == 1
    assert torch.equal(layer.col, before["col"])


def test_only_the_layers_that_the_model_uses_are_pruned():
    model = nn.ModuleDict({"used": small_model(), "unused": sl.SparseLinear(5, 5)})
    model.forward = lambda x: model["used"](x)
    model.train()
    set_global_k(model, 0.25)
    nnz = [module.weights.numel() for module in model["used"].modules() if hasattr(module, "k")]
    x = torch.randn(2, 2, 4, 4)
    model(x).sum().backward()
    removed = prune_sparse_model(model, x)
    assert removed == sum(n // 4 for n in nnz)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model["unused"].weights.numel() == 2
    assert all(module.training for module in model.modules())
    with pytest.raises(RuntimeError, match="in_channels=2"):
        prune_sparse_model(model, torch.randn(2, 3, 4, 4))
    with pytest.raises(ValueError, match="uses no sparse layer"):
        prune_sparse_model(nn.ReLU(), x)
    model["used"][2].k = 1.0
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="at least one must be left"):
        prune_sparse_model(model, x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 0.95), st.sampled_from(["uniform", "global", "er", "erk"]))
def test_targets_are_met_exactly(sparsity, distribution):
    model = small_model()
    weights = dense_weights(model)
    entries = [weight.numel() for weight in weights]
    prune_to_sparsity(model, sparsity, distribution=distribution)
    pruned = dense_weights(model)
    kept = [int((weight != 0).sum()) for weight in pruned]
    if distribution == "uniform":
        assert kept == [round((1 - sparsity) * n) for n in entries]
    assert abs(sum(kept) - (1 - sparsity) * sum(entries)) <= len(entries)
    for weight, after in zip(weights, pruned, strict=True):
        there = after != 0
        assert torch.equal(after[there], weight[there])
        if bool(there.all()):
            continue
        assert weight[~there].abs().max() <= weight[there].abs().min()
    if distribution == "global":
        # The largest of each layer stays, however small; the others share one threshold.
        ranked = [weight.flatten().abs().sort().values for weight in weights]
        others = torch.cat([magnitudes[:-1] for magnitudes in ranked]).sort().values
        left = sum(kept) - len(weights)
        threshold = others[len(others) - left] if left else torch.tensor(torch.inf)
        for weight, after, magnitudes in zip(weights, pruned, ranked, strict=True):
            large = (weight.abs() >= threshold) | (weight.abs() == magnitudes[-1])
            assert torch.equal(after != 0, large)


def test_layers_that_are_sparser_stay():
    model = nn.Sequential(
        sl.SparseLinear(10, 10, sparsity=0.9), sl.SparseLinear(10, 10, sparsity=0.2)
    )
    assert prune_to_sparsity(model, 0.5) == 30
    assert [layer.weights.numel() for layer in model] == [10, 50]
    assert prune_to_sparsity(model, 0.95, skip=["0"]) == 45
    assert [layer.weights.numel() for layer in model] == [10, 5]


def test_ties_and_nan():
    layer = sl.SparseLinear(4, 1, sparsity=0)
    with torch.no_grad():
        layer.weights.copy_(torch.tensor([1.0, float("nan"), -1.0, 1.0]))
    prune_to_sparsity(layer, 0.5)
    assert layer.col.tolist() == [1, 3]


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
        lambda p: torch.optim.AdamW(p, lr=0.01, foreach=True),
        lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    ],
)
def test_pruned_training_is_masked_dense_training(make):
    # The oracle: the same model, dense, whose weights and optimizer state are masked by hand.
    torch.manual_seed(0)
    dense = nn.Linear(8, 6, dtype=torch.float64)
    sparse = convert(dense, "csr")
    optimizers = make(dense.parameters()), make(sparse.parameters())
    pruner = Pruner(sparse, optimizers[1], Gradual(final=0.8, stop_after=9, update_every=3))
    mask = torch.ones(6, 8, dtype=torch.bool)
    for step in range(1, 16):
        x, target = torch.randn(5, 8, dtype=torch.float64), torch.randn(5, 6, dtype=torch.float64)
        for model, optimizer in zip((dense, sparse), optimizers, strict=True):
            optimizer.zero_grad()
            (model(x) - target).square().sum().backward()
            if model is dense:
                dense.weight.grad.mul_(mask)
            optimizer.step()
        pruner.step()
        goal = pruner.schedule.sparsity(step)
        with torch.no_grad():
            if goal is not None:
                count = round((1 - goal) * 48)
                order = dense.weight.abs().flatten().argsort(descending=True)
                mask = torch.zeros(48, dtype=torch.bool)
                mask[order[:count]] = True
                mask = mask.view(6, 8)
            dense.weight.mul_(mask)
            for entry in optimizers[0].state[dense.weight].values():
                if entry.dim():
                    entry.mul_(mask)
        torch.testing.assert_close(convert(sparse, "dense").weight, dense.weight)
    assert sparse.weights.numel() == round(0.2 * 48)
    assert pruner.sparsity == pytest.approx(0.8, abs=0.01)
    for entry in optimizers[1].state[sparse.weights].values():
        assert entry.dim() == 0 or entry.shape == sparse.weights.shape


def test_gradient_and_hooks_survive():
    layer = sl.SparseLinear(8, 6, sparsity=0)
    layer(torch.randn(3, 8)).sum().backward()
    parameter, gradient = layer.weights, layer.weights.grad.clone()
    keep = torch.arange(48) % 3 == 0
    remove_connections(layer, keep)
    assert layer.weights is parameter
    assert torch.equal(layer.weights.grad, gradient[keep])
    layer(torch.randn(3, 8)).sum().backward()


def test_the_cubic_schedule():
    schedule = Gradual(final=0.9, initial=0.1, begin=100, stop_after=500, update_every=100)
    # Zhu and Gupta's equation 1, by hand.
    expected = {100: 0.1, 200: 0.5625, 300: 0.8, 400: 0.8875, 500: 0.9}
    for step in range(700):
        value = schedule.sparsity(step)
        assert (value is None) == (step not in expected)
        if value is not None:
            assert value == pytest.approx(expected[step])
    assert Gradual(final=0.5, stop_after=250, update_every=100).sparsity(250) == 0.5


def test_a_pruner_resumes():
    model = small_model()
    pruner = Pruner(model, None, Gradual(final=0.9, stop_after=10, update_every=5))
    for _ in range(7):
        pruner.step()
    other = Pruner(model, None, pruner.schedule)
    other.load_state_dict(pruner.state_dict())
    assert [other.step() > 0 for _ in range(4)] == [False, False, True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"final": 1.0, "stop_after": 5}, "0 <= initial <= final < 1"),
        ({"final": 0.1, "initial": 0.5, "stop_after": 5}, "got initial=0.5, final=0.1"),
        ({"final": 0.5, "stop_after": 0}, "0 <= begin < stop_after"),
        (
            {"final": 0.5, "stop_after": 5, "update_every": 0},
            "update_every must be positive, got 0",
        ),
    ],
)
def test_bad_schedules(arguments, message):
    with pytest.raises(ValueError, match=message):
        Gradual(**arguments)


def test_bad_input():
    model = small_model()
    for k in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"k must be in \[0, 1\]"):
            set_global_k(model, k)
    for sparsity in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"sparsity must be in \[0, 1\)"):
            prune_to_sparsity(model, sparsity)
    with pytest.raises(ValueError, match="distribution must be one of uniform, global, er, erk"):
        prune_to_sparsity(model, 0.5, distribution="layerwise")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"2: sparsity 0\.99 leaves no connection"):
        prune_to_sparsity(model, 0.99)
    with pytest.raises(ValueError, match="in 3 layers: each needs one"):
        prune_to_sparsity(model, 0.9999, distribution="global")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(ValueError, match="convert it first"):
        prune_to_sparsity(nn.Linear(3, 3), 0.5)
    with pytest.raises(ValueError, match="no sparse layer '7' to skip"):
        prune_to_sparsity(model, 0.5, skip=["7"])
    with pytest.raises(ValueError, match="would leave no connection"):
        remove_connections(model[2], torch.zeros(40, dtype=torch.bool))
    with pytest.raises(ValueError, match="keep must be 40 booleans"):
        remove_connections(model[2], torch.ones(39, dtype=torch.bool))


def test_an_optimizer_that_cannot_be_pruned():
    layer = sl.SparseLinear(4, 4, sparsity=0)
    optimizer = torch.optim.LBFGS(layer.parameters())
    x = torch.randn(3, 4)

    def closure():
        optimizer.zero_grad()
        loss = layer(x).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with pytest.raises(ValueError, match="cannot be pruned"):
        prune_to_sparsity(layer, 0.5, optimizer=optimizer)
    assert layer.weights.numel() == 16


def test_a_pruner_shows_its_settings():
    schedule = Gradual(final=0.9, stop_after=10)
    pruner = Pruner(small_model(), None, schedule)
    assert repr(pruner) == f"Pruner(steps=0, schedule={schedule!r}, distribution='uniform')"

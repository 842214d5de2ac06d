"""Scores, schedules and tickets: against dense models, and small cases worked by hand."""

import copy
import gc
import math
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparselayers as sl
from sparselayers.convert import convert, convert_model
from sparselayers.prune import (
    Gradual,
    Movement,
    Pruner,
    Sigmoid,
    Stepwise,
    Ticket,
    grasp,
    prune_by_synflow,
    prune_to_sparsity,
    snip,
    synflow,
    taylor,
)


def dense_model():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 4)).double()


def sparse_of(model):
    return convert_model(copy.deepcopy(model), (nn.Linear,), "csr", keep_zeros=True)


def data(count=5):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 6, generator=generator, dtype=torch.float64)
    return x, torch.randint(4, (count,), generator=generator)


def loss_of(model):
    x, labels = data()
    return F.cross_entropy(model(x), labels)


def weights(model):
    return [model[0].weight, model[3].weight]


def assert_scores(scores, expected, model):
    for layer, each in zip((model[0], model[3]), expected, strict=True):
        torch.testing.assert_close(scores(layer), each.flatten())


def test_snip_is_the_sensitivity_to_a_mask():
    dense = dense_model()
    sparse = sparse_of(dense)
    masks = [torch.ones_like(w, requires_grad=True) for w in weights(dense)]
    x, labels = data()
    hidden = torch.tanh(dense[1](F.linear(x, dense[0].weight * masks[0], dense[0].bias)))
    loss = F.cross_entropy(F.linear(hidden, dense[3].weight * masks[1], dense[3].bias), labels)
    expected = [g.abs() for g in torch.autograd.grad(loss, masks)]
    scores = snip(sparse, lambda: loss_of(sparse))
    assert_scores(scores, expected, sparse)
    assert all(p.grad is None for p in sparse.parameters())
    prune_to_sparsity(sparse, 0.75, distribution="global", score=scores)
    flat = torch.cat([e.flatten() for e in expected])
    threshold = flat.sort().values[-20]
    for layer, each in zip((sparse[0], sparse[3]), expected, strict=True):
        assert torch.equal(layer.connectivity.mask(), each >= threshold)
    with pytest.raises(ValueError, match=r"layer '0': .* other connections"):
        prune_to_sparsity(sparse, 0.9, score=scores)


def test_grasp_is_what_the_gradient_flow_loses():
    """Against finite differences of ‖g‖² along each weight: −w ∂‖g‖²/∂w / −2."""
    dense = dense_model()
    sparse = sparse_of(dense)
    scores = grasp(sparse, lambda: loss_of(sparse))

    def flow():
        gradients = torch.autograd.grad(loss_of(dense), weights(dense))
        return float(sum(g.square().sum() for g in gradients))

    for layer, w in zip((sparse[0], sparse[3]), weights(dense), strict=True):
        expected = torch.full_like(w, torch.nan)
        for place in range(0, w.numel(), 3):
            flat, step = w.detach().view(-1), 1e-5
            value = float(flat[place])
            flat[place] = value + step
            above = flow()
            flat[place] = value - step
            expected.view(-1)[place] = value * (above - flow()) / (2 * step) / 2
            flat[place] = value
        found, expected = scores(layer)[::3], expected.flatten()[::3]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-8)


def test_synflow_is_the_strength_of_paths_by_hand():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        model[0].bias.copy_(torch.tensor([0.0, 0.0]))
        model[2].weight.copy_(torch.tensor([[5.0, -6.0]]))
        model[2].bias.zero_()
    model = convert_model(model, (nn.Linear,), "csr", keep_zeros=True).train()
    before = copy.deepcopy(model.state_dict())
    scores = synflow(model, torch.empty(1, 2))
    assert scores(model[0]).abs().tolist() == [5, 10, 18, 24]
    assert scores(model[2]).abs().tolist() == [15, 42]
    assert scores(model[0]).min() > 0
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_synflow_in_rounds_cuts_no_layer_off():
    torch.manual_seed(0)
    layers = [nn.Linear(20, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU()]
    sparse = convert_model(
        nn.Sequential(*layers, nn.Linear(40, 5)), (nn.Linear,), "csr", keep_zeros=True
    )
    total = 20 * 40 + 40 * 40 + 40 * 5
    removed = prune_by_synflow(sparse, 0.95, torch.empty(1, 20), rounds=30)
    assert removed == total - round(0.05 * total)
    assert min(sparse[i].weights.numel() for i in (0, 3, 5)) > 5
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        prune_by_synflow(sparse, 0.97, torch.empty(1, 20), rounds=0)


def test_taylor_by_hand():
    layer = sl.SparseLinear(3, 1, bias=False, sparsity=0)
    with torch.no_grad():
        layer.weights.copy_(torch.tensor([1.0, -2.0, 3.0]))
    layer(torch.tensor([[4.0, 3.0, 1.0]])).sum().backward()
    assert taylor(layer).tolist() == [16.0, 36.0, 9.0]
    prune_to_sparsity(layer, 1 / 3, score=taylor)
    assert layer.col.tolist() == [0, 1]


def test_movement_is_the_sum_over_all_steps():
    dense = nn.Linear(6, 4, dtype=torch.float64)
    sparse = convert(dense, "csr")
    optimizer = torch.optim.SGD(sparse.parameters(), lr=0.1, momentum=0.9)
    score = Movement()
    pruner = Pruner(
        sparse, optimizer, Gradual(final=0.5, stop_after=6, update_every=3), score=score
    )
    sums = torch.zeros(4, 6, dtype=torch.float64)
    mask = torch.ones(4, 6, dtype=torch.bool)
    x, _ = data(6)
    for step in range(1, 7):
        optimizer.zero_grad()
        sparse(x[step - 1 : step]).square().sum().backward()
        there = sparse.connectivity.mask()
        sums[there] -= sparse.weights.detach() * sparse.weights.grad
        optimizer.step()
        if step == 4:
            saved = copy.deepcopy(pruner.state_dict())
            pruner.score = Movement()
            pruner.load_state_dict(saved)
            pruner.steps = 3
            assert torch.equal(pruner.score(sparse), score(sparse))
            pruner.score = score
        pruner.step()
        goal = pruner.schedule.sparsity(step)
        if goal is not None:
            order = sums.masked_fill(~mask, -math.inf).flatten().argsort(descending=True)
            mask = torch.zeros(24, dtype=torch.bool)
            mask[order[: round((1 - goal) * 24)]] = True
            mask = mask.view(4, 6)
            assert torch.equal(sparse.connectivity.mask(), mask)
    gone = weakref.ref(pruner)
    del pruner
    gc.collect()
    assert gone() is None


def test_the_sigmoid_by_hand():
    schedule = Sigmoid(initial=0.5, final=0.9, begin=0, stop_after=400, update_every=100)
    found = [schedule.sparsity(step) for step in (0, 100, 200, 300, 400)]
    quarter = (1 / (1 + math.exp(3)) - 1 / (1 + math.exp(6))) / (1 - 2 / (1 + math.exp(6)))
    expected = [0.5, 0.5 + 0.4 * quarter, 0.7, 0.9 - 0.4 * quarter, 0.9]
    assert found == pytest.approx(expected)
    assert schedule.sparsity(150) is None
    assert found[1] - found[0] < 0.02  # against 0.23 of the cubic


def test_steps_at_which_it_gets_sparser():
    schedule = Stepwise({4: 0.5, 6: 0.75})
    assert [schedule.sparsity(step) for step in (3, 4, 5, 6)] == [None, 0.5, None, 0.75]
    layer = sl.SparseLinear(4, 4, sparsity=0)
    pruner = Pruner(layer, None, schedule)
    assert [pruner.step() for _ in range(7)] == [0, 0, 0, 8, 0, 4, 0]


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_ticket_begins_where_it_began(kind):
    model = sparse_of(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4)))
    optimizer = (
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        if kind == "sgd"
        else torch.optim.Adam(model.parameters())
    )
    dense = [convert(model[i], "dense").weight.detach().clone() for i in (0, 3)]
    start = {k: v.clone() for k, v in model[1].state_dict().items()}
    ticket = Ticket(model)
    x = torch.randn(5, 6)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    prune_to_sparsity(model, 0.7, optimizer=optimizer)
    masks = [model[i].connectivity.mask() for i in (0, 3)]
    ticket.rewind(optimizer)
    for i, weight, mask in zip((0, 3), dense, masks, strict=True):
        assert torch.equal(convert(model[i], "dense").weight, weight.where(mask, 0))
        assert torch.equal(model[i].connectivity.mask(), mask)
    assert all(torch.equal(v, start[k]) for k, v in model[1].state_dict().items())
    assert not optimizer.state
    model(x).sum().backward()
    optimizer.step()


def test_a_ticket_of_another_model():
    model = nn.Sequential(sl.SparseLinear(3, 3), nn.Linear(3, 3))
    ticket = Ticket(model)
    model[1] = nn.Linear(3, 2)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"1.weight has shape \(2, 3\) and was \(3, 3\)"):
        ticket.rewind()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("score", "got"),
    [
        (lambda layer: layer.weights[1:], r"\(17,\) of torch.float32"),
        (lambda layer: torch.zeros(layer.shape), r"\(6, 6\)"),
        (lambda layer: 1.0, "float"),
        (lambda layer: torch.zeros(18, dtype=torch.complex64), r"\(18,\) of torch.complex64"),
    ],
)
@pytest.mark.parametrize("distribution", ["uniform", "global"])
def test_a_score_of_the_wrong_shape_changes_nothing(score, got, distribution):
    model = nn.Sequential(sl.SparseLinear(6, 6, sparsity=0.5), sl.SparseLinear(6, 6, sparsity=0.5))
    before = [layer.connectivity for layer in model]
    wrong = {id(model[1]): score}

    def mixed(layer):
        return wrong.get(id(layer), lambda each: each.weights.abs())(layer)

    with pytest.raises(ValueError, match=f"layer '1': the score mixed must be 18 real .* {got}"):
        prune_to_sparsity(model, 0.7, distribution=distribution, score=mixed)
    assert [layer.connectivity for layer in model] == before


def test_scores_that_need_gradients():
    model = nn.Sequential(sl.SparseLinear(6, 6), sl.SparseLinear(6, 6))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = Gradual(final=0.95, stop_after=5)
    with pytest.raises(ValueError, match="layer '0': taylor needs a gradient"):
        prune_to_sparsity(model, 0.95, score=taylor)
    with pytest.raises(ValueError, match="give the optimizer"):
        Pruner(model, None, schedule, score=Movement())
    model[1].weights.requires_grad_(False)
    for score, name in ((taylor, "taylor"), (Movement(), "Movement")):
        with pytest.raises(ValueError, match=f"score {name} needs gradients, .* layer '1' are"):
            Pruner(model, optimizer, schedule, score=score)
        Pruner(model, optimizer, schedule, score=score, skip=["1"])
    for make in (snip, grasp):
        with pytest.raises(ValueError, match="layer '1' are frozen"):
            make(model, lambda: model(torch.ones(1, 6)).sum())
    with pytest.raises(ValueError, match="layer '1' are frozen"):
        synflow(model, torch.ones(1, 6))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sigmoid(final=0.5, begin=9, stop_after=5), "begin < stop_after, got begin=9"),
        (lambda: Sigmoid(final=0.5, stop_after=5, steepness=0), "steepness must be positive"),
        (lambda: Gradual(final=0.5, stop_after=5, power=-1), "power must be positive"),
        (lambda: Stepwise({}), "from 1 on"),
        (lambda: Stepwise({0: 0.5}), "from 1 on"),
        (lambda: Stepwise({1: 0.5, 2: 0.4}), "not fall"),
        (lambda: Stepwise({1: 1.0}), r"in \[0, 1\)"),
    ],
)
def test_schedules_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()

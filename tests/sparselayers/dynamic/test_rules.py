"""The rules for rewiring beside RigL and SET, each against what its authors describe."""

import copy
import math

import pytest
import torch
from torch import nn

import sparselayers as sl
from sparselayers.dynamic import CHT, GSE, MEST, SET, CHTs, GraNet, MomentumGrowth, RigL
from sparselayers.dynamic.importance import relative_importance, sampled_order
from sparselayers.dynamic.momentum import enough
from tests.sparselayers.dynamic.test_paths import by_hand
from tests.sparselayers.dynamic.test_rewirer import (
    batches,
    dense_weight,
    make_layer,
    seeded,
    train,
)

RULES = [SET, RigL, MEST, GSE, MomentumGrowth, CHT, CHTs]


def step(layer, optimizer, x, target):
    optimizer.zero_grad()
    (layer(x) - target).square().mean().backward()
    optimizer.step()


def dense_gradient(layer, x, target):
    weight = dense_weight(layer).requires_grad_()
    (nn.functional.linear(x, weight, layer.bias) - target).square().mean().backward()
    return weight.grad


def smallest(values, mask, count):
    """Return what is left of `mask` without its `count` smallest values."""
    kept = mask.clone().flatten()
    kept[values.masked_fill(~mask, math.inf).flatten().argsort()[:count]] = False
    return kept.view(mask.shape)


def settings(layer, **more):
    return {"update_every": 1, "stop_after": 9, "decay": "constant", "fraction": 0.3} | more


@pytest.mark.parametrize("rule", RULES)
def test_the_number_of_connections_stays_and_runs_repeat(rule):
    def run():
        layer = make_layer()
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
        rewirer = rule(layer, optimizer, **settings(layer, update_every=3, generator=seeded(5)))
        before = layer.connectivity
        train(layer, optimizer, rewirer, 7)
        assert layer.connectivity.nnz == before.nnz == layer.weights.numel()
        assert not layer.connectivity.equals(before)
        return layer

    first, second = run(), run()
    assert first.connectivity.equals(second.connectivity)
    assert torch.equal(first.weights, second.weights)


@pytest.mark.parametrize("rule", RULES)
def test_a_run_goes_on_from_its_state(rule):
    layer = make_layer()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    options = {"window": 3} if rule is MomentumGrowth else {}

    def rewirer_of(layer, optimizer):
        chosen = settings(layer, update_every=4, generator=seeded(5), stop_after=20)
        return rule(layer, optimizer, **chosen, **options)

    rewirer = rewirer_of(layer, optimizer)
    data = list(batches(12, layer))
    for x, target in data[:6]:
        step(layer, optimizer, x, target)
        rewirer.step()
    other = copy.deepcopy(layer)
    second = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    second.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    resumed = rewirer_of(other, second)
    resumed.load_state_dict(copy.deepcopy(rewirer.state_dict()))
    for x, target in data[6:]:
        for each, opt, rew in ((layer, optimizer, rewirer), (other, second, resumed)):
            step(each, opt, x, target)
            rew.step()
    assert layer.connectivity.equals(other.connectivity)
    assert torch.equal(layer.weights, other.weights)


def test_mest_drops_what_is_small_and_does_not_move():
    layer = make_layer()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
    rewirer = MEST(layer, optimizer, gradient_weight=5.0, **settings(layer))
    x, target = next(batches(1, layer))
    gradient = dense_gradient(layer, x, target)
    step(layer, optimizer, x, target)
    mask = layer.connectivity.mask()
    kept = smallest(dense_weight(layer).abs() + 5.0 * gradient.abs(), mask, int(0.3 * 60))
    by_magnitude = smallest(dense_weight(layer).abs(), mask, int(0.3 * 60))
    assert not torch.equal(kept, by_magnitude)
    rewirer.step()
    assert torch.equal(layer.connectivity.mask() & mask, kept)


def test_momentum_grows_where_the_gradient_has_pointed_to():
    layer = make_layer()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    options = settings(layer, update_every=4, max_size=45)
    rewirer = MomentumGrowth(layer, optimizer, momentum=0.8, window=3, **options)
    total = torch.zeros(layer.shape)
    for number, (x, target) in enumerate(batches(4, layer), start=1):
        gradient = dense_gradient(layer, x, target)
        total = 0.8 * total + gradient if number > 1 else total  # the first is out of the window
        step(layer, optimizer, x, target)
        mask = layer.connectivity.mask()
        rewirer.step()
    count = int(0.3 * 60)
    expected = total.abs().masked_fill(mask, -1).flatten().topk(count).indices.sort().values
    alone = gradient.abs().masked_fill(mask, -1).flatten().topk(count).indices.sort().values
    grown = (layer.connectivity.mask() & ~mask).flatten().nonzero().flatten()
    assert torch.equal(grown, expected)
    assert not torch.equal(grown, alone)


def test_how_many_terms_are_enough():
    for momentum in (0.0, 0.5, 0.9, 0.99):
        terms = enough(momentum)
        assert momentum**terms <= 0.05
        assert terms == 1 or momentum ** (terms - 1) > 0.05


@pytest.mark.parametrize("sampling", ["uniform", "bound", "estimate"])
def test_enough_candidates_make_rigl(sampling):
    """With so many draws that every place is a candidate, what grows is what RigL grows."""
    layer = make_layer(8, 6, 0.6)
    other = copy.deepcopy(layer)
    pairs = []
    for rule, each in ((RigL, layer), (GSE, other)):
        optimizer = torch.optim.SGD(each.parameters(), lr=0.1)
        more = {"candidates": 5_000, "sampling": sampling} if rule is GSE else {}
        pairs.append((each, optimizer, rule(each, optimizer, **settings(each), **more)))
    for x, target in batches(3, layer):
        for each, optimizer, rewirer in pairs:
            step(each, optimizer, x, target)
            rewirer.step()
    assert layer.connectivity.equals(other.connectivity)


def test_layers_with_half_of_all_places_are_asked_everywhere():
    """The authors sample above a sparsity of 50% alone: with few candidates it is RigL there."""
    for sparsity, same in ((0.5, True), (0.6, False)):
        layer = make_layer(20, 15, sparsity)
        other, grown = copy.deepcopy(layer), []
        for rule, each in ((RigL, layer), (GSE, other)):
            optimizer = torch.optim.SGD(each.parameters(), lr=0.1)
            more = {"candidates": 0.05} if rule is GSE else {}
            rewirer = rule(each, optimizer, **settings(each), **more)
            step(each, optimizer, *next(batches(1, each)))
            rewirer.step()
            grown.append(each.connectivity)
        assert grown[0].equals(grown[1]) == same


def test_candidates_follow_the_activity():
    """GraBo: no candidate where an input or an output is always 0."""
    layer = make_layer(30, 20, 0.8)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewirer = GSE(layer, optimizer, candidates=3.0, **settings(layer))
    x, target = next(batches(1, layer))
    x[:, 15:] = 0
    before = layer.connectivity.mask()
    step(layer, optimizer, x, target)
    rewirer.step()
    grown = layer.connectivity.mask() & ~before
    assert int(grown[:, :15].sum()) == int(grown.sum()) == int(0.3 * 120)


def test_few_candidates_are_made_up_for():
    layer = make_layer()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    train(layer, optimizer, GSE(layer, optimizer, candidates=0.02, **settings(layer)), 3)
    assert layer.connectivity.nnz == 60


def test_sampled_gradients_of_convolutions():
    torch.manual_seed(0)
    layer = sl.SparseConv2d(3, 6, 3, sparsity=0.7, generator=seeded())
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewirer = GSE(layer, optimizer, candidates=100.0, **settings(layer))
    twin = copy.deepcopy(layer)
    second = torch.optim.SGD(twin.parameters(), lr=0.1)
    other = RigL(twin, second, **settings(twin))
    x = torch.randn(2, 3, 7, 7)
    for each, opt, rew in ((layer, optimizer, rewirer), (twin, second, other)):
        each(x).square().mean().backward()
        opt.step()
        rew.step()
    assert layer.connectivity.equals(twin.connectivity)


@pytest.mark.parametrize("distribution", ["uniform", "global"])
def test_granet_prunes_and_regenerates(distribution):
    model = nn.Sequential(make_layer(20, 15, 0.5), nn.ReLU(), make_layer(15, 10, 0.5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    schedule = sl.Gradual(initial=0.5, final=0.8, stop_after=6, update_every=2)
    rewirer = GraNet(
        model,
        optimizer,
        schedule=schedule,
        distribution=distribution,
        update_every=2,
        stop_after=12,
        fraction=0.4,
        decay="constant",
    )
    layers = [model[0], model[2]]
    for number, (x, _) in enumerate(batches(10, model[0]), start=1):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        weights, masks = [dense_weight(each) for each in layers], []
        for each in layers:
            masks.append(each.connectivity.mask())
        rewirer.step()
        target = 0.8 + (0.5 - 0.8) * (1 - min(number, 6) / 6) ** 3
        counts = [each.connectivity.nnz for each in layers]
        if number % 2:
            assert all(
                torch.equal(m, e.connectivity.mask()) for m, e in zip(masks, layers, strict=True)
            )
            continue
        if distribution == "uniform":
            assert counts == [round((1 - target) * n) for n in (300, 150)]
        else:
            assert sum(counts) == round((1 - target) * 450)
        for weight, mask, each, count in zip(weights, masks, layers, counts, strict=True):
            grown = int(0.4 * count)
            kept = smallest(weight.abs(), mask, int(mask.sum()) - count + grown)
            assert torch.equal(each.connectivity.mask() & mask, kept)
    assert optimizer.state_dict()


def test_gradual_pruning_with_random_growth_keeps_momentum():
    layer = make_layer()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05, momentum=0.9)
    schedule = sl.Gradual(initial=0.8, final=0.9, stop_after=6)
    train(layer, optimizer, SET(layer, optimizer, schedule=schedule, **settings(layer)), 8)
    assert layer.connectivity.nnz == 30
    assert optimizer.state[layer.weights]["momentum_buffer"].shape == (30,)


def test_granet_replaces_half_at_first_as_its_authors_do():
    layer = make_layer()
    schedule = sl.Gradual(initial=0.8, final=0.9, stop_after=6)
    rewirer = GraNet(layer, torch.optim.SGD(layer.parameters()), schedule=schedule, stop_after=9)
    assert (rewirer.fraction, rewirer.distribution) == (0.5, "global")


def test_relative_importance_by_hand():
    layer = sl.from_mask(torch.tensor([[True, True], [False, True]]))
    found = relative_importance(torch.tensor([1.0, -3.0, 2.0]), layer)
    expected = [1 / 1 + 1 / 4, 3 / 5 + 3 / 4, 2 / 5 + 2 / 2]
    assert found.tolist() == pytest.approx(expected)
    assert relative_importance(torch.zeros(3), layer).tolist() == pytest.approx([1.5, 1.0, 1.5])


def test_what_is_sampled_is_what_a_multinomial_draws():
    scores, draws = torch.tensor([0.5, 0.3, 0.2, 0.0]), 20_000
    uniform = torch.rand(draws, 4, generator=seeded(), dtype=torch.float64)
    first = sampled_order(scores, uniform).topk(2, dim=1).indices
    pairs = torch.zeros(4, 4)
    pairs.index_put_((first[:, 0], first[:, 1]), torch.ones(draws), accumulate=True)
    for a in range(3):
        for b in range(3):
            expected = scores[a] * scores[b] / (1 - scores[a]) if a != b else 0.0
            assert abs(float(pairs[a, b]) / draws - float(expected)) < 0.015
    assert pairs[3].sum() == pairs[:, 3].sum() == 0


@pytest.mark.parametrize("score", ["ch3_l3p", "ch2_l3n"])
@pytest.mark.parametrize("removal", ["magnitude", "relative"])
def test_cht_closes_the_most_paths(score, removal):
    layer = make_layer(12, 10, 0.7)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
    rewirer = CHT(layer, optimizer, score=score, removal=removal, **settings(layer))
    x, target = next(batches(1, layer))
    step(layer, optimizer, x, target)
    mask, weight = layer.connectivity.mask(), dense_weight(layer)
    count = int(0.3 * 36)
    worth = weight.abs()
    if removal == "relative":
        worth = worth / worth.sum(0) + worth / worth.sum(1, keepdim=True)
    kept = smallest(worth, mask, count)
    node, path = by_hand(kept)
    chosen = (path if score == "ch3_l3p" else node).masked_fill(kept, -1)
    rewirer.step()
    new = layer.connectivity.mask()
    assert bool((new & kept).eq(kept).all())
    grown = chosen[new & ~kept].sort().values
    assert torch.allclose(grown, chosen.flatten().topk(count).values.flip(0), atol=1e-5)
    survivors = new & mask
    assert torch.equal(dense_weight(layer), weight.where(survivors, 0))


def test_soft_rule_follows_scores_but_not_always():
    grown = torch.zeros(6, 7)
    layer = make_layer(7, 6, 0.6)
    initial, values = layer.connectivity, layer.weights.detach().clone()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    draws = 120
    more = {"stop_after": draws + 1, "fraction": 1 / 17, "sharpness": (60.0, 60.0)}
    rewirer = CHTs(layer, optimizer, **settings(layer, generator=seeded(), **more))
    kept = smallest(dense_weight(layer).abs(), initial.mask(), 1)
    for _ in range(draws):
        layer(torch.ones(1, 7)).sum().backward()
        optimizer.step()
        rewirer.step()
        optimizer.zero_grad()
        new = layer.connectivity.mask()
        grown += new & ~kept & (new & kept).eq(kept).all()
        layer.set_connections(initial, values)
    node, _ = by_hand(kept)
    total = float(grown.sum())
    assert total > 0.5 * draws  # with such a power the smallest weight is nearly always dropped
    expected = total * node / node.sum()
    assert ((grown - expected).abs() < 4.5 * expected.sqrt() + 3).all()


def test_what_is_pruned_may_go_by_something_else_than_what_makes_room():
    """CHTss prunes by relative importance, and what makes room goes by magnitude."""
    layer = make_layer(12, 10, 0.5)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
    schedule = sl.Sigmoid(initial=0.5, final=0.7, begin=0, stop_after=1, update_every=1)
    options = settings(layer, fraction=0.25, regrow_dropped=False)
    rewirer = CHT(layer, optimizer, pruning="relative", schedule=schedule, **options)
    step(layer, optimizer, *next(batches(1, layer)))
    mask, size = layer.connectivity.mask(), dense_weight(layer).abs()
    relative = size / size.sum(0) + size / size.sum(1, keepdim=True)
    pruned = smallest(relative, mask, 60 - 36)
    kept = smallest(size, pruned, 9)
    assert not torch.equal(kept, smallest(relative, pruned, 9))
    rewirer.grow = lambda site, count: site.anywhere(count)
    rewirer.step()
    survived = (dense_weight(layer) != 0) & mask  # what has just grown begins at 0
    assert torch.equal(survived, kept)


def test_links_that_lead_nowhere_go():
    torch.manual_seed(1)
    model = nn.Sequential(
        sl.SparseLinear(12, 30, sparsity=0.9), nn.ReLU(), sl.SparseLinear(30, 8, sparsity=0.9)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    rewirer = CHT(model, optimizer, chain=["0", "2"], **settings(model, fraction=0.5))
    rewirer.grow = lambda site, count: site.anywhere(count)  # what is kept, is what counts here
    seen = {}

    def percolate(sites, kept):
        seen["before"] = {n: sites[n].present[k] for n, k in kept.items()}
        after = CHT.percolate(rewirer, sites, kept)
        seen["after"] = {n: sites[n].present[k] for n, k in after.items()}
        return after

    rewirer.percolate = percolate
    model(torch.randn(4, 12)).square().mean().backward()
    optimizer.step()
    rewirer.step()
    assert [model[i].connectivity.nnz for i in (0, 2)] == [36, 24]
    first, second = seen["before"]["0"], seen["before"]["2"]
    first = first[torch.isin(first // 12, second % 30)]
    second = second[torch.isin(second % 30, first // 12)]
    assert torch.equal(seen["after"]["0"], first)
    assert torch.equal(seen["after"]["2"], second)
    assert first.numel() < seen["before"]["0"].numel()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m, o: MEST(m, o, stop_after=9, gradient_weight=-1), "gradient_weight"),
        (lambda m, o: GSE(m, o, stop_after=9, candidates=0), "candidates"),
        (lambda m, o: GSE(m, o, stop_after=9, sampling="best"), "one of uniform, bound, estimate"),
        (lambda m, o: MomentumGrowth(m, o, stop_after=9, momentum=1.0), r"\[0, 1\)"),
        (lambda m, o: MomentumGrowth(m, o, stop_after=9, window=0), "window"),
        (lambda m, o: CHT(m, o, stop_after=9, score="l2"), "ch3_l3p, ch2_l3n"),
        (lambda m, o: CHT(m, o, stop_after=9, removal="none"), "magnitude, relative"),
        (lambda m, o: CHT(m, o, stop_after=9, pruning="none"), "pruning must be one of magnitude"),
        (lambda m, o: SET(m, o, stop_after=9, schedule=0.9), "schedule must say .* got 0.9"),
        (lambda m, o: CHT(m, o, stop_after=9, chain=["0", "9"]), "'9', which is not rewired"),
        (lambda m, o: CHT(m, o, stop_after=9, chain=["0", "0"]), "15 outputs before '0' with 20"),
        (lambda m, o: CHTs(m, o, stop_after=9, sharpness=(1, 0)), "sharpness"),
        (lambda m, o: SET(m, o, stop_after=9, distribution="erk"), "uniform, global"),
    ],
)
def test_settings_out_of_range(make, message):
    model = nn.Sequential(make_layer())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=message):
        make(model, optimizer)


@pytest.mark.parametrize("rule", [RigL, GSE, MomentumGrowth, MEST])
def test_a_rule_that_needs_gradients_refuses_frozen_layers(rule):
    model = nn.Sequential(make_layer(), make_layer(15, 10))
    for layer in model:
        layer.weights.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=f"{rule.__name__} needs gradients.*'0', '1'"):
        rule(model, optimizer, stop_after=9)
    CHT(model, optimizer, stop_after=9)
    model[1].weights.requires_grad_(True)
    rule(model, optimizer, stop_after=9)


def test_a_rule_that_grows_the_wrong_number_changes_nothing():
    class Wrong(SET):
        def grow(self, site, count):
            return site.anywhere(count)[1:]

    layer = make_layer()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewirer, before = Wrong(layer, optimizer, **settings(layer)), layer.connectivity
    with pytest.raises(RuntimeError, match=r"Wrong.grow returned \(17,\) keys, where 18"):
        train(layer, optimizer, rewirer, 1)
    assert layer.connectivity is before


@pytest.mark.parametrize("regrow", [False, True])
def test_a_rule_that_grows_a_place_twice_is_named(regrow):
    class Twice(SET):
        def grow(self, site, count):
            keys = site.anywhere(count)
            keys[1] = keys[0]
            return keys

    layer = make_layer()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    options = settings(layer, regrow_dropped=regrow)
    rewirer, before = Twice(layer, optimizer, **options), layer.connectivity
    with pytest.raises(ValueError, match=r"layer '': Twice.grow must return connections .* once"):
        train(layer, optimizer, rewirer, 1)
    assert layer.connectivity is before


def test_a_rewirer_shows_its_settings():
    layer = make_layer()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewirer = RigL(layer, optimizer, update_every=5, stop_after=20)
    assert repr(rewirer) == (
        "RigL(layers=1, steps=0, update_every=5, stop_after=20, fraction=0.3, decay='cosine')"
    )


@pytest.mark.parametrize(
    ("said", "wrong", "got"),
    [
        ("worth", lambda *_: torch.ones(59), r"60 real numbers, .* got \(59,\) of torch.float32"),
        ("worth", lambda *_: torch.ones(15, 20), r"60 real numbers, .* got \(15, 20\)"),
        ("worth", lambda *_: 1.0, "60 real numbers, .* got 1.0"),
        ("importance", lambda *_: torch.ones(61), r"60 real numbers, .* got \(61,\)"),
        ("percolate", lambda _, kept: {"": kept[""][1:]}, r"60 booleans, .* got \(59,\)"),
        ("percolate", lambda _, kept: {"": kept[""].float()}, "60 booleans, .* torch.float32"),
        ("percolate", lambda *_: {}, "60 booleans, .* got None"),
    ],
)
def test_a_rule_that_says_what_fits_no_layer_changes_nothing(said, wrong, got):
    layer = make_layer()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewirer, before = SET(layer, optimizer, **settings(layer)), layer.connectivity
    setattr(rewirer, said, wrong)
    with pytest.raises(RuntimeError, match=f"layer '': SET.{said} must be {got}"):
        train(layer, optimizer, rewirer, 1)
    assert layer.connectivity is before


def test_a_schedule_that_asks_for_no_sparsity_changes_nothing():
    class Wrong:
        def sparsity(self, step):
            return 1.5 if step == 3 else None

    layer = make_layer()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    options = settings(layer, update_every=9, stop_after=20)
    rewirer, before = SET(layer, optimizer, schedule=Wrong(), **options), layer.connectivity
    with pytest.raises(ValueError, match=r"asks for sparsity 1.5 at step 3: .* in \[0, 1\)"):
        train(layer, optimizer, rewirer, 4)
    assert layer.connectivity is before

"""Rewirers against a dense model that is rewired step by step as the papers say."""

import copy
import gc
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import sparselayers as sl
from sparselayers.dynamic import SET, Rewirer, RigL
from tests import peaks

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make_layer(in_features=20, out_features=15, sparsity=0.8, **arguments):
    return sl.SparseLinear(
        in_features, out_features, sparsity=sparsity, generator=seeded(), **arguments
    )


def dense_weight(layer, values=None):
    dense = torch.zeros(layer.shape, dtype=layer.weights.dtype)
    dense[layer.connectivity.mask()] = layer.weights.detach() if values is None else values
    return dense


def batches(count, layer, *, size=8):
    generator = seeded(1)
    for _ in range(count):
        x = torch.randn(size, layer.in_features, generator=generator)
        yield x, torch.randn(size, layer.out_features, generator=generator)


def train(layer, optimizer, rewirer, steps, *, scale=1.0):
    for x, target in batches(steps, layer):
        optimizer.zero_grad()
        (scale * (layer(x) - target).square().mean()).backward()
        optimizer.step()
        rewirer.step()


def oracle(layer, x, target, share, *, regrow=False):
    """Return the mask and the weight after one rewiring: the paper's algorithm, dense and whole."""
    weight = dense_weight(layer).requires_grad_()
    (nn.functional.linear(x, weight, layer.bias) - target).square().mean().backward()
    return lambda: _rewire_dense(layer, weight.grad.abs(), share, regrow)


def _rewire_dense(layer, score, share, regrow):
    weight, mask = dense_weight(layer), layer.connectivity.mask()
    count = int(share * int(mask.sum()))
    magnitude = weight.abs().masked_fill(~mask, math.inf)
    kept = mask.clone().view(-1)
    kept[magnitude.flatten().argsort()[:count]] = False
    kept = kept.view(mask.shape)
    taken = kept if regrow else mask
    grown = score.masked_fill(taken, -1).flatten().argsort(descending=True)[:count]
    new = kept.clone().view(-1)
    new[grown] = True
    new = new.view(mask.shape)
    survivors = new & mask
    return new, weight.where(survivors, 0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("regrow", [False, True])
@pytest.mark.parametrize("max_size", [1e8, 45])
def test_rigl_is_the_published_algorithm(optimizer, regrow, max_size):
    layer = make_layer()
    optimizer = OPTIMIZERS[optimizer](layer.parameters())
    rewirer = RigL(
        layer,
        optimizer,
        update_every=3,
        stop_after=10,
        fraction=0.4,
        regrow_dropped=regrow,
        max_size=max_size,
    )
    same = [layer.weights, layer.row_ptr, layer.col]
    for step, (x, target) in enumerate(batches(12, layer), start=1):
        optimizer.zero_grad()
        (layer(x) - target).square().mean().backward()
        share = 0.2 * (1 + math.cos(math.pi * step / 10)) if step in (3, 6, 9) else 0
        expect = oracle(layer, x, target, share, regrow=regrow)
        optimizer.step()
        mask, weight = expect()
        before = layer.connectivity.mask()
        rewirer.step()
        assert torch.equal(layer.connectivity.mask(), mask)
        assert torch.equal(dense_weight(layer), weight)
        assert layer.weights.numel() == 60
        if share and not regrow:
            assert int((before & ~mask).sum()) == int(60 * share)
    assert all(a is b for a, b in zip(same, [layer.weights, layer.row_ptr, layer.col], strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("rule", [RigL, SET])
def test_what_belongs_to_a_connection_follows_it(name, rule):
    layer = make_layer()
    optimizer = OPTIMIZERS[name](layer.parameters())
    rewirer = rule(layer, optimizer, update_every=5, stop_after=100)
    train(layer, optimizer, rewirer, 4)
    x, target = next(batches(1, layer))
    optimizer.zero_grad()
    (layer(x) - target).square().mean().backward()
    optimizer.step()

    def entries():
        state = {
            k: v for k, v in optimizer.state[layer.weights].items() if v is not None and v.dim()
        }
        state |= {"values": layer.weights.detach(), "gradient": layer.weights.grad}
        return {key: dense_weight(layer, tensor) for key, tensor in state.items()}

    before, old = entries(), layer.connectivity.mask()
    assert name == "sgd" or len(before) > 2
    rewirer.step()
    after, new = entries(), layer.connectivity.mask()
    assert int((new & ~old).sum()) > 0
    for key, dense in after.items():
        assert torch.equal(dense, before[key].where(old & new, 0)), key
    train(layer, optimizer, rewirer, 2)


@given(
    sparsity=st.floats(0, 0.99),
    fraction=st.floats(0, 1),
    rule=st.sampled_from([RigL, SET]),
    zero=st.booleans(),
    seed=st.integers(0, 99),
)
def test_no_connection_is_lost_or_doubled(sparsity, fraction, rule, zero, seed):
    """Dense layers, shares of all and nothing, gradients that are all alike."""
    layer = make_layer(9, 12, sparsity)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewirer = rule(
        layer,
        optimizer,
        update_every=1,
        stop_after=9,
        fraction=fraction,
        decay="constant",
        max_size=30,
        generator=seeded(seed),
    )
    nnz = layer.weights.numel()
    for _ in range(2):
        before = layer.connectivity.mask()
        optimizer.zero_grad()
        layer(torch.zeros(2, 9) if zero else torch.randn(2, 9)).sum().backward()
        optimizer.step()
        rewirer.step()
        mask = layer.connectivity.mask()
        assert int(mask.sum()) == nnz == layer.connectivity.nnz
        assert int((mask & ~before).sum()) == min(int(fraction * nnz), 108 - nnz)


def test_set_grows_anywhere_alike():
    grown = torch.zeros(6, 7, dtype=torch.int64)
    draws = 200
    layer = make_layer(7, 6, 0.5)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    initial, values = copy.deepcopy(layer.connectivity), layer.weights.detach().clone()
    rewirer = SET(
        layer,
        optimizer,
        update_every=1,
        stop_after=draws + 1,
        fraction=0.34,
        decay="constant",
        generator=seeded(),
    )
    mask = initial.mask()
    for _ in range(draws):
        layer(torch.ones(1, 7)).sum().backward()
        optimizer.step()
        rewirer.step()
        grown += layer.connectivity.mask() & ~mask
        layer.set_connections(initial, values)
    assert grown[mask].sum() == 0
    expected = draws * int(0.34 * 21) / 21
    assert ((grown[~mask] - expected).abs() < 4.5 * math.sqrt(expected)).all()


def test_the_share_decays_as_published():
    layer = make_layer()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    cosine = RigL(layer, optimizer, update_every=10, stop_after=40, fraction=0.3)
    assert [cosine.share(t) for t in (0, 5, 40, 50)] == [0, 0, 0, 0]
    shares = [0.15 * (1 + math.sqrt(0.5)), 0.15, 0.15 * (1 - math.sqrt(0.5))]
    assert [cosine.share(t) for t in (10, 20, 30)] == pytest.approx(shares)
    constant = SET(layer, optimizer, update_every=10, stop_after=40, decay="constant")
    assert [constant.share(t) for t in (10, 30, 31, 40)] == [0.3, 0.3, 0, 0]


def test_a_new_rule_is_one_method():
    class FirstPlaces(Rewirer):
        def grow(self, site, count):
            columns = site.layer.shape[1]
            return site.largest(
                lambda rows: (
                    -torch.arange(rows.start * columns, rows.stop * columns)
                    .view(-1, columns)
                    .float()
                ),
                count,
            )

    layer = make_layer()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewirer = FirstPlaces(layer, optimizer, update_every=1, stop_after=9, decay="constant")
    absent = (~layer.connectivity.mask()).flatten().nonzero().flatten()
    train(layer, optimizer, rewirer, 1)
    assert layer.connectivity.mask().flatten()[absent[: int(0.3 * 60)]].all()


def test_accumulated_gradients_count_together():
    one, two = make_layer(), make_layer()
    optimizers = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in (one, two)]
    rewirers = [
        RigL(layer, optimizer, update_every=1, stop_after=9)
        for layer, optimizer in zip((one, two), optimizers, strict=True)
    ]
    x, target = next(batches(1, one))
    (one(x) - target).square().sum().backward()
    for part in (slice(0, 3), slice(3, 8)):
        (two(x[part]) - target[part]).square().sum().backward()
    for optimizer, rewirer in zip(optimizers, rewirers, strict=True):
        optimizer.step()
        rewirer.step()
    assert torch.equal(one.connectivity.mask(), two.connectivity.mask())


def test_gradients_of_earlier_steps_do_not_count():
    """Only the last of two steps between calls, and nothing that was evaluated without gradient."""
    one, two = make_layer(), make_layer()
    for layer, calls in ((one, 1), (two, 2)):
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
        rewirer = RigL(layer, optimizer, update_every=1, stop_after=9)
        for x, target in list(batches(2, layer))[-calls:]:
            optimizer.zero_grad()
            (layer(x) - target).square().mean().backward()
            with torch.no_grad():
                layer(100 * x)
            optimizer.step()
        rewirer.step()
    assert torch.equal(one.connectivity.mask(), two.connectivity.mask())


def test_clipping_changes_no_choice():
    one, two = make_layer(), make_layer()
    for layer, norm in ((one, 1e-3), (two, 1e9)):
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
        rewirer = RigL(layer, optimizer, update_every=1, stop_after=9)
        x, target = next(batches(1, layer))
        (layer(x) - target).square().mean().backward()
        nn.utils.clip_grad_norm_(layer.parameters(), norm)
        optimizer.step()
        rewirer.step()
    assert torch.equal(one.connectivity.mask(), two.connectivity.mask())


@pytest.mark.parametrize(
    "make_optimizer",
    [OPTIMIZERS["adam"], lambda p: torch.optim.SGD(p, lr=0.1, fused=True)],  # skips by itself
)
def test_steps_that_the_scaler_skips_do_not_count(make_optimizer):
    layer = make_layer()
    optimizer = make_optimizer(layer.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    rewirer = RigL(layer, optimizer, update_every=2, stop_after=9, decay="constant")
    initial = layer.connectivity.mask()
    for step, (x, target) in enumerate(batches(3, layer), start=1):
        optimizer.zero_grad()
        if step == 2:
            x = x / 0
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = (layer(x) - target).square().mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        rewirer.step()
        assert rewirer.steps == (1, 1, 2)[step - 1]
        assert torch.equal(layer.connectivity.mask(), initial) == (step < 3)
    assert layer.weights.isfinite().all()
    assert int((layer.connectivity.mask() & ~initial).sum()) == int(0.3 * 60)


@pytest.mark.parametrize("rule", [RigL, SET])
def test_training_goes_on_from_a_checkpoint(rule):
    def begin():
        layer = make_layer()
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
        settings = {"update_every": 3, "stop_after": 20, "generator": seeded(5)}
        return layer, optimizer, rule(layer, optimizer, **settings)

    whole, half = begin(), begin()
    train(*whole, 8)
    train(*half, 8)
    state = copy.deepcopy([part.state_dict() for part in half])
    resumed = begin()
    for part, saved in zip(resumed, state, strict=True):
        part.load_state_dict(saved)
    train(*whole, 7)
    train(*resumed, 7)
    assert torch.equal(whole[0].weight.to_dense(), resumed[0].weight.to_dense())
    assert resumed[2].steps == 15


def test_models_are_copied_and_pickled_while_they_are_watched():
    model = nn.Sequential(make_layer(), nn.ReLU(), make_layer(15, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rewirer = RigL(model, optimizer, update_every=1, stop_after=9)
    assert list(rewirer.layers) == ["0", "2"]
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    masks = [layer.connectivity.mask() for layer in rewirer.layers.values()]
    x = torch.randn(3, 20, generator=seeded())
    for other in copies:
        other(x).sum().backward()
    model(x).square().sum().backward()
    optimizer.step()
    rewirer.step()
    for layer, mask in zip(rewirer.layers.values(), masks, strict=True):
        assert not torch.equal(layer.connectivity.mask(), mask)
    for other in copies:
        assert torch.equal(other[0].connectivity.mask(), masks[0])


def test_a_rewirer_that_is_gone_watches_no_more():
    layer = make_layer()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewirer = RigL(layer, optimizer, update_every=1, stop_after=9)
    assert layer._connections.watcher is not None
    assert len(layer.weights._post_accumulate_grad_hooks) == 1
    assert len(optimizer._optimizer_step_post_hooks) == 1
    assert len(optimizer._optimizer_step_pre_hooks) == 1
    gc.disable()
    try:
        del rewirer
    finally:
        gc.enable()
    assert layer._connections.watcher is None
    assert not layer.weights._post_accumulate_grad_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert not optimizer._optimizer_step_pre_hooks


def test_only_trained_layers_are_rewired():
    model = nn.Sequential(make_layer(), make_layer(15, 4))
    optimizer = torch.optim.SGD(model[1].parameters(), lr=0.1)
    rewirer = RigL(model, optimizer, update_every=1, stop_after=9)
    assert list(rewirer.layers) == ["1"]
    with pytest.raises(ValueError, match="no sparse layer"):
        RigL(model[0], optimizer, stop_after=9)
    with pytest.raises(ValueError, match="no sparse layer"):
        RigL(nn.Linear(3, 4), optimizer, stop_after=9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"update_every": 0}, "update_every must be a positive integer, got 0"),
        ({"stop_after": 1.5}, "stop_after must be a positive integer, got 1.5"),
        ({"max_size": math.nan}, "max_size must be a positive integer, got nan"),
        ({"fraction": -0.1}, r"fraction must be in \[0, 1\], got -0.1"),
        ({"fraction": math.nan}, "fraction must be in"),
        ({"decay": "linear"}, "decay must be one of cosine, constant, got 'linear'"),
    ],
)
def test_settings_that_are_none(settings, message):
    layer = make_layer()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=message):
        RigL(layer, optimizer, **({"stop_after": 9} | settings))


def test_compiled_models_are_rewired():
    gc.collect()  # layers of other tests that were about to rewire
    torch._dynamo.reset()  # what they compiled counts towards the limit of this one
    layer = make_layer()
    model = torch.compile(layer, fullgraph=True, backend="aot_eager")
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewirer = RigL(layer, optimizer, update_every=2, stop_after=9, decay="constant")
    plain = make_layer()
    plain_optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    plain_rewirer = RigL(plain, plain_optimizer, update_every=2, stop_after=9, decay="constant")
    for x, target in batches(4, layer):
        optimizer.zero_grad()
        (model(x) - target).square().mean().backward()
        optimizer.step()
        rewirer.step()
    train(plain, plain_optimizer, plain_rewirer, 4)
    assert torch.equal(layer.connectivity.mask(), plain.connectivity.mask())
    torch.testing.assert_close(layer.weights, plain.weights)
    assert torch._dynamo.eval_frame._stance.stance == "default"


@pytest.mark.parametrize(
    "arguments",
    [
        {"padding": 1},
        {"stride": 2, "groups": 2},
        {"padding": "same", "padding_mode": "reflect"},
        {"dilation": 2, "groups": 4, "padding": (2, 0)},
    ],
)
@pytest.mark.parametrize("batched", [True, False])
def test_convolutions_know_their_dense_gradient(arguments, batched):
    layer = sl.SparseConv2d(4, 8, (3, 2), sparsity=0.5, dtype=torch.float64, **arguments)
    dense = nn.Conv2d(4, 8, (3, 2), bias=False, dtype=torch.float64, **arguments)
    x = torch.randn(*([3] if batched else []), 4, 9, 8, dtype=torch.float64)
    y = dense(x)
    dy = torch.randn_like(y)
    y.backward(dy)
    rows = torch.cat([layer.weight_gradient(x, dy, rows) for rows in (slice(0, 3), slice(3, 8))])
    torch.testing.assert_close(rows, dense.weight.grad.flatten(1))


@pytest.mark.parametrize(
    "arguments",
    [
        {"padding": 1},
        {"stride": 2, "padding": "valid"},
        {"padding": 1, "padding_mode": "reflect"},
        {"groups": 3, "dilation": 2, "padding": (2, 1)},
    ],
)
def test_convolutions_are_rewired(arguments):
    layer = sl.SparseConv2d(3, 6, 3, sparsity=0.8, **arguments)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    rewirer = RigL(layer, optimizer, update_every=1, stop_after=9, max_size=60)
    before, nnz = layer.connectivity.mask(), layer.weights.numel()
    layer(torch.randn(2, 3, 5, 5)).square().sum().backward()
    optimizer.step()
    rewirer.step()
    after = layer.connectivity.mask()
    assert int(after.sum()) == nnz
    assert int((after & ~before).sum()) == int(rewirer.share(1) * nnz)
    layer(torch.randn(2, 3, 5, 5)).square().sum().backward()


LARGE = """
import torch, sparselayers as sl
from sparselayers.dynamic import RigL
torch.set_num_threads(1)

def rewired(width, sparsity):
    layer = sl.SparseLinear(width, width, sparsity=sparsity)
    optimizer = torch.optim.Adam(layer.parameters())
    rewirer = RigL(layer, optimizer, update_every=1, stop_after=2)
    nnz, col = layer.connectivity.nnz, layer.col.clone()
    layer(torch.randn(4, width)).square().sum().backward()
    optimizer.step()
    rewirer.step()
    assert layer.connectivity.nnz == nnz
    assert not torch.equal(layer.col, col)

rewired(100, 0.9)  # what is loaded once does not count
begin()
rewired(8_000, 0.999)
print(rise())
"""


@peaks.needed
def test_the_dense_gradient_of_a_large_layer_is_never_whole():
    """8,000 × 8,000, 64,000 connections: the gradient takes 256 MB, a block of it 8 MB."""
    grown = peaks.of(LARGE)
    assert grown < 256e6, f"took {grown / 1e6:.0f} MB"

"""Rewiring within a structure, against the algorithm on dense matrices, unit by unit."""

import pytest
import torch
from torch import nn

import sparselayers as sl
from sparselayers.dynamic import CHT, GSE, MEST, SET, CHTs, GraNet, MomentumGrowth, RigL
from sparselayers.structures import Blocks, ConstantFanIn, NofM, named

STRUCTURES = ("8x1", "4x4", "2:8", "3:4", "fan-in")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make(name, **arguments):
    structure = named(name)
    drawn = structure.draw((16, 24), None if ":" in name else 0.75, generator=seeded(1))
    return sl.SparseLinear(24, 16, connectivity=drawn, generator=seeded(2), **arguments)


def train(layer, rewirer, optimizer, steps=1, features=24):
    for step in range(steps):
        x = torch.randn(12, features, generator=seeded(step + 5))
        optimizer.zero_grad()
        (layer(x) - 1.0).square().mean().backward()
        optimizer.step()
        rewirer.step()
    return x


def dense_of(layer):
    dense = torch.zeros(layer.shape)
    dense[layer.connectivity.mask()] = layer.weights.detach()
    return dense


def blocks_of(matrix, structure):
    rows, columns = matrix.shape[0] // structure.rows, matrix.shape[1] // structure.cols
    return matrix.view(rows, structure.rows, columns, structure.cols).sum((1, 3))


def oracle(structure, mask, weight, gradient, share):
    """Return the mask after one rewiring, by loops over what is there."""
    if isinstance(structure, Blocks):
        units = blocks_of(mask.float(), structure) > 0
        worth, score = blocks_of(weight.abs(), structure), blocks_of(gradient.abs(), structure)
        group_of = dict.fromkeys(range(units.numel()), 0)
        size = units.numel()
    else:
        units, worth, score = mask, weight.abs(), gradient.abs()
        size = structure.m if isinstance(structure, NofM) else mask.shape[1]
        group_of = {place: place // size for place in range(units.numel())}
    there = units.flatten().clone()
    worth, score = worth.flatten().tolist(), score.flatten().tolist()
    present = [place for place in range(len(worth)) if there[place]]
    free = dict.fromkeys(group_of.values(), size)
    for place in present:
        free[group_of[place]] -= 1
    dropped = []
    for place in sorted(present, key=worth.__getitem__):
        if len(dropped) < int(share * len(present)) and free[group_of[place]] > 0:
            dropped.append(place)
            free[group_of[place]] -= 1
    new = there.clone()
    new[dropped] = False
    for group in set(group_of.values()):
        lost = sum(group_of[place] == group for place in dropped)
        absent = [p for p in range(len(worth)) if group_of[p] == group and not there[p]]
        new[sorted(absent, key=score.__getitem__)[len(absent) - lost :]] = True
    new = new.view(units.shape)
    if isinstance(structure, Blocks):
        new = new.repeat_interleave(structure.rows, 0).repeat_interleave(structure.cols, 1)
    return new


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("max_size", [1e8, 24])
def test_rigl_drops_and_grows_units_as_the_algorithm_does(name, max_size):
    layer, structure = make(name), named(name)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    rewirer = RigL(
        layer, optimizer, update_every=1, stop_after=3, fraction=0.4, decay="constant",
        structure=structure, max_size=max_size,
    )  # fmt: skip
    before, mask = dense_of(layer), layer.connectivity.mask()
    x = torch.randn(12, 24, generator=seeded(5))
    dense = before.clone().requires_grad_()
    bias = layer.bias.detach().clone()
    (x @ dense.t() + bias - 1.0).square().mean().backward()
    stepped = torch.where(mask, before - 0.1 * dense.grad, 0.0)
    train(layer, rewirer, optimizer)
    wanted = oracle(structure, mask, stepped, dense.grad, 0.4)
    assert torch.equal(layer.connectivity.mask(), wanted)
    assert not torch.equal(wanted, mask)
    torch.testing.assert_close(dense_of(layer), torch.where(wanted & mask, stepped, 0.0))
    structure.check(layer.connectivity)
    momentum = optimizer.state[layer.weights]["momentum_buffer"]
    assert torch.equal(momentum == 0, ~mask[wanted])  # what grew starts anew


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("rule", [RigL, SET, MEST, MomentumGrowth])
def test_every_rule_that_can_keeps_the_structure_and_the_number(name, rule):
    layer, structure = make(name), named(name)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    rewirer = rule(
        layer, optimizer, update_every=2, stop_after=20, fraction=0.5, structure=name,
        generator=seeded(3),
    )  # fmt: skip
    for _ in range(3):
        before = layer.connectivity
        train(layer, rewirer, optimizer, steps=2)
        structure.check(layer.connectivity)
        assert layer.connectivity.nnz == before.nnz
        assert not layer.connectivity.equals(before)


def test_random_growth_reaches_every_free_place_of_a_group():
    seen = torch.zeros(4, 4, dtype=torch.bool)
    for seed in range(60):
        layer = sl.SparseLinear(4, 4, connectivity=sl.n_of_m((4, 4), 1, 4, generator=seeded()))
        first = layer.connectivity.mask()
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        rewirer = SET(
            layer, optimizer, update_every=1, stop_after=9, fraction=1.0, decay="constant",
            structure="1:4", generator=seeded(seed),
        )  # fmt: skip
        train(layer, rewirer, optimizer, features=4)
        now = layer.connectivity.mask()
        assert not (first & now).any()
        assert now.sum(1).tolist() == [1] * 4
        seen |= now
    assert torch.equal(seen, ~first)


def test_a_model_of_blocks_gets_sparser_in_blocks():
    model = nn.Sequential(make("8x1"), nn.ReLU(), sl.SparseLinear(
        16, 8, connectivity=sl.blocks((8, 16), 0.5, block=(8, 1), generator=seeded())))  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = sl.Gradual(initial=0.7, final=0.875, stop_after=6, update_every=2)
    rewirer = GraNet(
        model, optimizer, schedule=schedule, update_every=2, stop_after=8, structure="8x1"
    )
    train(model, rewirer, optimizer, steps=7)
    places = 16 * 24 + 16 * 8
    assert sum(model[i].weights.numel() for i in (0, 2)) == round(0.125 * places / 8) * 8
    for i in (0, 2):
        Blocks(8, 1).check(model[i].connectivity)


def test_layers_of_different_structures_have_a_rewirer_each():
    model = nn.Sequential(make("8x1"), nn.ReLU(), sl.SparseLinear(16, 10, sparsity=0.7))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    settings = {"update_every": 1, "stop_after": 9}
    rewirers = [
        RigL(model[0], optimizer, structure="8x1", **settings),
        SET(model[2], optimizer, **settings),
    ]
    before = [model[i].connectivity for i in (0, 2)]
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(12, 24)).square().mean().backward()
        optimizer.step()
        for rewirer in rewirers:
            rewirer.step()
    Blocks(8, 1).check(model[0].connectivity)
    assert not any(model[i].connectivity.equals(b) for i, b in zip((0, 2), before, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_convolutions_exchange_blocks_of_channels(dtype):
    blocks = sl.blocks((8, 4 * 9), 0.75, block=(4, 1), generator=seeded())
    layer = sl.SparseConv2d(4, 8, 3, padding=1, connectivity=blocks, dtype=dtype)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewirer = RigL(layer, optimizer, update_every=1, stop_after=9, structure=Blocks(4, 1))
    layer(torch.randn(2, 4, 6, 6, dtype=dtype)).square().mean().backward()
    optimizer.step()
    rewirer.step()
    Blocks(4, 1).check(layer.connectivity)
    assert not layer.connectivity.equals(blocks)


@pytest.mark.parametrize(
    ("rule", "name", "settings", "message"),
    [
        (CHT, "8x1", {}, "CHT cannot keep the structure 8x1: .* RigL, SET, MEST"),
        (CHTs, "fan-in", {}, "CHTs cannot keep the structure fan-in"),
        (GSE, "2:8", {}, "GSE cannot keep the structure 2:8"),
        (RigL, "4x4", {}, "layer '': the connections are no whole blocks of 4 × 4"),
        (RigL, "2:5", {}, "layer '': 2:5 does not fit"),
        (SET, "rows", {}, "structure must be blocks such as 8x1"),
        (
            SET,
            "fan-in",
            {"schedule": sl.Gradual(final=0.9, stop_after=5)},
            "with a schedule connections are not kept fan-in",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused_at_once(rule, name, settings, message):
    layer = make(name if settings or rule not in (RigL, SET) else "8x1")
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=message):
        rule(layer, optimizer, stop_after=5, structure=name, **settings)


def test_a_layer_that_lost_the_structure_is_named_before_anything_changes():
    model = nn.Sequential(make("8x1"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rewirer = RigL(model, optimizer, update_every=1, stop_after=9, structure="8x1")
    before = sl.random((16, 24), 0.5, generator=seeded())
    model[0].set_connections(before, torch.ones(before.nnz))
    with pytest.raises(ValueError, match="layer '0': the connections are no whole blocks"):
        train(model, rewirer, optimizer)
    assert model[0].connectivity is before
    assert ConstantFanIn().holds(sl.constant_fan_in((3, 4), 0.5))


def test_a_rewirer_goes_on_where_its_state_was_taken():
    results = []
    for interrupted in (False, True):
        layer = make("8x1")
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        settings = {"update_every": 1, "stop_after": 9, "structure": "8x1"}
        rewirer = SET(layer, optimizer, generator=seeded(4), **settings)
        train(layer, rewirer, optimizer, steps=2)
        if interrupted:
            state = rewirer.state_dict()
            rewirer = SET(layer, optimizer, generator=seeded(8), **settings)
            rewirer.load_state_dict(state)
        train(layer, rewirer, optimizer, steps=2)
        results.append(layer.connectivity)
    assert results[0].equals(results[1])

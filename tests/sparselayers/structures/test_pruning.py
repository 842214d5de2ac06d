"""Conversion and pruning to a structure, against dense masks that are worked out unit by unit."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import sparselayers as sl
from sparselayers.convert import convert
from sparselayers.prune import Gradual, Pruner, Stepwise, grasp, prune_to_sparsity
from sparselayers.structures import Blocks, NofM, named


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def dense_layer(outputs=16, inputs=24):
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(outputs, inputs, generator=seeded(1)))
    return layer


def wanted(name, weight, sparsity):
    """Return the mask of what should stay."""
    magnitudes = weight.detach().abs().double()
    rows, columns = magnitudes.shape
    if "x" in name:
        height, width = map(int, name.split("x"))
        sums = magnitudes.view(rows // height, height, columns // width, width).sum((1, 3))
        stay = torch.zeros_like(sums, dtype=torch.bool)
        count = round((1 - sparsity) * sums.numel())
        stay.view(-1)[sums.flatten().topk(count).indices] = True
        return stay.repeat_interleave(height, 0).repeat_interleave(width, 1)
    if ":" in name:
        few, many = map(int, name.split(":"))
    else:
        few, many = round((1 - sparsity) * columns), columns
    groups = magnitudes.view(-1, many)
    stay = torch.zeros_like(groups, dtype=torch.bool).scatter_(1, groups.topk(few).indices, True)
    return stay.view(rows, columns)


NAMES = ("8x1", "4x4", "2:4", "fan-in")


@pytest.mark.parametrize("name", NAMES)
def test_the_units_of_largest_magnitude_become_connections(name):
    dense, sparsity = dense_layer(), None if ":" in name else 0.75
    mask = wanted(name, dense.weight, 0.75)
    layer = sl.SparseLinear.from_dense(dense, sparsity=sparsity, structure=name)
    assert torch.equal(layer.connectivity.mask(), mask)
    assert torch.equal(layer.weights, dense.weight[mask])
    for target in ("csr", "coo"):
        again = convert(dense, target, sparsity=sparsity, structure=named(name))
        assert torch.equal(again.connectivity.mask(), mask)
    masked = convert(dense, "dense", sparsity=sparsity, structure=name)
    assert torch.equal(masked.weight, dense.weight * mask)
    # A layer that has all its weights is pruned alike, and so is one by a pruner's hand.
    whole = sl.SparseLinear.from_dense(dense)
    assert torch.equal(convert(whole, "csr", sparsity=sparsity, structure=name).connectivity.mask(),
                       mask)  # fmt: skip
    prune_to_sparsity(whole, sparsity or 0.5, structure=name)
    assert torch.equal(whole.connectivity.mask(), mask)
    assert f"sparsity={named(name).nearest((16, 24), sparsity):.4g}" in repr(whole)


def test_sparsity_alone_prunes_by_magnitude():
    dense = dense_layer()
    layer = sl.SparseLinear.from_dense(dense, sparsity=0.9)
    assert layer.weights.numel() == round(0.1 * 16 * 24)
    assert layer.weights.abs().min() > dense.weight[~layer.connectivity.mask()].abs().max()
    with torch.no_grad():
        dense.weight[:, 1:] = 0.0
    assert sl.SparseLinear.from_dense(dense, sparsity=0.5).weights.numel() == 16


def test_zeros_stay_where_the_structure_needs_them():
    dense = dense_layer()
    with torch.no_grad():
        dense.weight[:, :22] = 0.0
    layer = sl.SparseLinear.from_dense(dense, structure="2:4")
    NofM(2, 4).check(layer.connectivity)
    assert torch.equal(layer.to_dense().weight, torch.where(
        layer.connectivity.mask(), dense.weight, 0.0))  # fmt: skip
    # And another conversion leaves them.
    assert convert(layer, "coo", structure="2:4").connectivity.equals(layer.connectivity)


def test_models_are_converted_and_layers_that_do_not_fit_named():
    model = nn.Sequential(dense_layer(), nn.ReLU(), nn.Linear(16, 10))
    with pytest.raises(ValueError, match=r"^2: blocks of 8 × 1 do not divide .* 10 outputs"):
        sl.convert_model(model, nn.Linear, "csr", sparsity=0.75, structure="8x1")
    sparse = sl.convert_model(model, nn.Linear, "csr", sparsity=0.75, structure="8x1", skip="2")
    assert torch.equal(sparse[0].connectivity.mask(), wanted("8x1", model[0].weight, 0.75))
    assert isinstance(sparse[2], nn.Linear)
    conv = nn.Sequential(nn.Conv2d(4, 8, 3))
    sparse = sl.convert_model(conv, nn.Conv2d, "csr", sparsity=0.75, structure="4x1")
    assert torch.equal(
        sparse[0].connectivity.mask(), wanted("4x1", conv[0].weight.flatten(1), 0.75)
    )
    attention = nn.MultiheadAttention(16, 2)
    sparse = sl.convert_model(
        nn.Sequential(attention), nn.MultiheadAttention, "csr", structure="2:4"
    )
    assert all(NofM(2, 4).holds(getattr(sparse[0], f"{n}_proj").connectivity) for n in "qkv")


def test_masks_are_held_to_the_structure_that_was_promised():
    dense = dense_layer()
    mask = wanted("8x1", dense.weight, 0.75)
    layer = sl.SparseLinear.from_dense(dense, mask=mask, structure="8x1")
    assert torch.equal(layer.connectivity.mask(), mask)
    mask[3, 7] ^= True
    with pytest.raises(ValueError, match="0: the connections are no whole blocks of 8 × 1"):
        sl.convert_model(nn.Sequential(dense), nn.Linear, "csr", masks={"0": mask}, structure="8x1")
    with pytest.raises(ValueError, match="give mask or sparsity, not both"):
        convert(dense, "csr", mask=mask, sparsity=0.5)
    with pytest.raises(ValueError, match="the connections are no whole blocks"):
        convert(sl.SparseLinear(24, 16, sparsity=0.5), "csr", structure="8x1")
    with pytest.raises(ValueError, match="the connections are not 2:4"):
        convert(dense, "csr", mask=mask, structure="2:4")
    # What torch.nn.utils.prune left is taken at its word too.
    kept = wanted("4x4", dense.weight, 0.75)
    prune.custom_from_mask(dense, "weight", kept)
    layer = convert(dense, "csr", keep_zeros=True, structure="4x4")
    assert torch.equal(layer.connectivity.mask(), kept)
    with pytest.raises(ValueError, match="the connections are no whole blocks of 8 × 1"):
        convert(dense, "csr", structure="8x1")


def whole_model():
    model = nn.Sequential(dense_layer(), nn.ReLU(), dense_layer(8, 16))
    return sl.convert_model(model, nn.Linear, "csr", keep_zeros=True)


@pytest.mark.parametrize("name", ["8x1", "fan-in"])
def test_a_pruner_keeps_the_structure_from_step_to_step(name):
    model = whole_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = Gradual(final=0.875, stop_after=6, update_every=2)
    pruner = Pruner(model, optimizer, schedule, structure=name)
    for _ in range(6):
        optimizer.zero_grad()
        model(torch.randn(4, 24)).square().mean().backward()
        optimizer.step()
        pruner.step()
        for i in (0, 2):
            named(name).check(model[i].connectivity)
            entries = optimizer.state[model[i].weights]["exp_avg"]
            assert entries.shape == model[i].weights.shape
    assert [model[i].sparsity for i in (0, 2)] == [0.875, 0.875]


def test_n_of_m_is_reached_over_more_of_each_m():
    model = whole_model()
    weight = model[0].to_dense().weight
    pruner = Pruner(model, None, Stepwise({1: 0.2, 2: 0.3, 3: 0.5}), structure="2:4")
    removed = [pruner.step() for _ in range(3)]
    assert removed == [(16 * 24 + 8 * 16) // 4, 0, (16 * 24 + 8 * 16) // 4]  # to 3:4, then 2:4
    assert torch.equal(model[0].connectivity.mask(), wanted("2:4", weight, None))


def test_one_threshold_serves_the_blocks_of_all_layers():
    model = whole_model()
    sums = [layer.to_dense().weight.abs().view(-1, 8, layer.shape[1]).sum(1)
            for layer in (model[0], model[2])]  # fmt: skip
    prune_to_sparsity(model, 0.75, structure="8x1", distribution="global")
    bar = torch.cat([each.flatten() for each in sums]).topk(16).values.min()
    for i, each in zip((0, 2), sums, strict=True):
        mask = (each >= bar).repeat_interleave(8, 0)
        assert torch.equal(model[i].connectivity.mask(), mask)


def test_scores_of_any_kind_are_summed_over_blocks():
    model = whole_model()
    x = torch.randn(8, 24, generator=seeded())
    score = grasp(model, lambda: model(x).square().mean())
    sums = score(model[0]).view(2, 8, 24).sum(1)
    prune_to_sparsity(model, 0.5, structure="8x1", score=score)
    assert torch.equal(
        model[0].connectivity.mask()[::8].flatten(),
        torch.zeros(48, dtype=torch.bool).index_fill_(0, sums.flatten().topk(24).indices, True),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 0.5, "structure": "5x1"}, "0: blocks of 5 × 1 do not divide"),
        ({"sparsity": 0.9, "structure": "2:4"}, r"0: 2:4 has a sparsity of 0\.5"),
        ({"sparsity": 0.999, "structure": "8x1"}, "0: sparsity 0.999 leaves no block"),
        (
            {"sparsity": 0.5, "structure": "fan-in", "distribution": "global"},
            "distribution 'global' and structure fan-in exclude each other",
        ),
        (
            {"sparsity": 0.99, "structure": "16x1", "distribution": "global", "skip": ["2"]},
            "leaves 0 units of 16x1 in 1 layers",
        ),
        ({"sparsity": 0.5, "structure": "wide"}, "structure must be blocks"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_changes(arguments, message):
    model = whole_model()
    with pytest.raises(ValueError, match=message):
        prune_to_sparsity(model, **arguments)
    assert [model[i].weights.numel() for i in (0, 2)] == [384, 128]


def test_layers_that_have_blocks_in_part_are_named():
    model = nn.Sequential(sl.SparseLinear(24, 16, sparsity=0.5, generator=seeded()))
    with pytest.raises(ValueError, match="0: the connections are no whole blocks of 8 × 1"):
        prune_to_sparsity(model, 0.75, structure=Blocks(8, 1))

"""Structures against brute force on dense masks: what is drawn, what holds, what is chosen."""

import copy
import pickle

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

import sparselayers as sl
from sparselayers.structures import Blocks, ConstantFanIn, NofM, Unstructured, named

STRUCTURES = ("8x1", "4x4", "2:4", "1:8", "fan-in", "unstructured")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def keeps(structure, mask):
    """Return whether a dense mask has a structure: by its definition, place by place."""
    rows, columns = mask.shape
    if isinstance(structure, Blocks):
        pieces = [
            mask[i : i + structure.rows, j : j + structure.cols]
            for i in range(0, rows, structure.rows)
            for j in range(0, columns, structure.cols)
        ]
        return all(piece.all() or not piece.any() for piece in pieces)
    if isinstance(structure, NofM):
        return all(
            int(mask[i, j : j + structure.m].sum()) == structure.n
            for i in range(rows)
            for j in range(0, columns, structure.m)
        )
    return len({int(row.sum()) for row in mask}) == 1


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(STRUCTURES),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    sparsity=st.floats(0.0, 0.95),
    seed=st.integers(0, 99),
)
def test_what_is_drawn_has_the_structure_and_the_nearest_sparsity(
    name, rows, columns, sparsity, seed
):
    structure, shape = named(name), (8 * rows, 8 * columns)
    if isinstance(structure, NofM):
        sparsity = None
    try:
        drawn = structure.draw(shape, sparsity, generator=seeded(seed))
    except ValueError:  # no unit is left of so small a layer
        assume(False)
    structure.check(drawn)
    assert structure == Unstructured() or keeps(structure, drawn.mask())
    assert drawn.shape == shape
    assert drawn.sparsity == pytest.approx(structure.nearest(shape, sparsity))
    assert drawn.equals(structure.draw(shape, sparsity, generator=seeded(seed)))
    if sparsity is not None:
        unit = {"8x1": 8, "4x4": 16, "fan-in": shape[0]}.get(name, 1)
        assert abs(drawn.nnz - (1 - sparsity) * shape[0] * shape[1]) <= unit / 2 + 1e-6


def test_topologies_worked_by_hand():
    whole = sl.blocks((4, 6), 0.0, block=(2, 3))
    assert whole.mask().all()
    one = sl.blocks((4, 6), 0.75, block=(2, 3), generator=seeded())
    assert one.nnz == 6
    assert keeps(Blocks(2, 3), one.mask())
    halves = sl.n_of_m((3, 8), 2, 4, generator=seeded())
    assert halves.mask().view(3, 2, 4).sum(2).eq(2).all()
    even = sl.constant_fan_in((5, 10), 0.7, generator=seeded())
    assert even.row_ptr.tolist() == [0, 3, 6, 9, 12, 15]


def test_every_block_is_drawn_alike():
    generator, shape = seeded(), (8, 6)
    draws = [sl.blocks(shape, 0.5, block=(4, 1), generator=generator) for _ in range(144)]
    counts = sum(draw.mask()[::4].double() for draw in draws)
    assert counts.sub(72).abs().max() < 5 * 36**0.5  # standard deviations
    draws = [sl.n_of_m((2, 8), 1, 4, generator=generator) for _ in range(144)]
    counts = sum(draw.mask().double() for draw in draws)
    assert counts.sub(36).abs().max() < 5 * 27**0.5


def test_a_million_by_a_million_is_no_trouble():
    million = 10**6
    assert sl.blocks((million, million), 1 - 1e-8, block=(8, 1)).nnz == pytest.approx(1e4, abs=8)


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(STRUCTURES[:-1]), seed=st.integers(0, 999), toggled=st.integers(0, 2))
def test_check_agrees_with_the_definition(name, seed, toggled):
    structure, generator = named(name), seeded(seed)
    mask = structure.draw((16, 16), None if ":" in name else 0.5, generator=generator).mask()
    for _ in range(toggled):
        row, column = torch.randint(16, (2,), generator=generator).tolist()
        mask[row, column] ^= True
    connectivity = sl.from_mask(mask)
    assert structure.holds(connectivity) == keeps(structure, mask)


@pytest.mark.parametrize(
    ("structure", "edges", "message"),
    [
        (Blocks(2, 1), [[0, 2, 3], [1, 0, 0]], "output 1 has none to input 1, and of the same bl"),
        (Blocks(2, 1), [[1, 2, 3], [1, 0, 0]], "output 0 has none to input 1"),
        (Blocks(2, 2), [[0, 0, 1], [2, 3, 3]], "output 1 has none to input 2"),
        (NofM(1, 2), [[0, 0, 1, 1], [0, 2, 0, 1]], "output 1 has 2 connections to inputs 0 to 1"),
        (NofM(1, 2), [[0, 0, 1], [0, 2, 0]], "output 1 has 0 connections to inputs 2 to 3"),
        (NofM(1, 4), [[0, 1, 2, 3, 3], [0, 0, 0, 1, 2]], "output 3 has 2 connections to inputs 0"),
        (ConstantFanIn(), [[0, 0, 1, 1, 2], [0, 1, 0, 1, 3]], "output 2 has 1, and output 0 has 2"),
    ],
)
def test_the_first_place_that_lacks_the_structure_is_named(structure, edges, message):
    with pytest.raises(ValueError, match=message):
        structure.check(sl.from_edges(torch.tensor(edges), (4, 4)))


def expected(structure, scores, sparsity):
    """Return what stays of a dense matrix of scores, by sorting units as Python sorts."""
    keep = torch.zeros_like(scores, dtype=torch.bool)
    if isinstance(structure, Blocks):
        height, width = structure.block
        sums = {
            (i, j): float(scores[i : i + height, j : j + width].sum())
            for i in range(0, scores.shape[0], height)
            for j in range(0, scores.shape[1], width)
        }
        count = round((1 - sparsity) * len(sums))
        for i, j in sorted(sums, key=sums.get)[len(sums) - count :]:
            keep[i : i + height, j : j + width] = True
        return keep
    width = structure.m if isinstance(structure, NofM) else scores.shape[1]
    count = structure.n if isinstance(structure, NofM) else round((1 - sparsity) * width)
    for i in range(scores.shape[0]):
        for j in range(0, scores.shape[1], width):
            piece = scores[i, j : j + width].tolist()
            for place in sorted(range(width), key=piece.__getitem__)[width - count :]:
                keep[i, j + place] = True
    return keep


@pytest.mark.parametrize("name", STRUCTURES[:-1])
def test_what_is_chosen_is_what_sorting_units_says(name):
    structure = named(name)
    scores = torch.rand(16, 24, generator=seeded(3), dtype=torch.float64)
    scores[:, 5] = 0.25  # equal ones, of which the first go
    sparsity = None if ":" in name else 0.8
    everything = sl.from_mask(torch.ones(16, 24, dtype=torch.bool))
    keep = structure.select(everything, scores.flatten(), sparsity)
    assert torch.equal(keep.view(16, 24), expected(structure, scores, sparsity or 0))
    # And of a layer that has the structure already, a part.
    some = structure.draw((16, 24), None if ":" in name else 0.5, generator=seeded())
    assert structure.select(some, torch.rand(some.nnz), sparsity).any()


def test_what_is_there_in_part_is_not_chosen():
    lone = sl.from_edges(torch.tensor([[0, 1, 2], [0, 0, 3]]), (4, 4))
    with pytest.raises(ValueError, match="output 3 has none to input 3"):
        Blocks(2, 1).select(lone, torch.ones(3), 0.9)
    with pytest.raises(ValueError, match="output 0 has 1 connections to inputs 0 to 3"):
        NofM(2, 4).select(lone, torch.ones(3))
    uneven = sl.from_edges(torch.tensor([[0, 0, 1, 2, 3], [0, 1, 0, 3, 1]]), (4, 4))
    with pytest.raises(ValueError, match="2 connections of each output cannot stay: output 1 has"):
        ConstantFanIn().select(uneven, torch.ones(5), 0.5)
    assert ConstantFanIn().select(uneven, torch.ones(5), 0.75).tolist() == [False, *[True] * 4]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sl.blocks((10, 784), block=(8, 1)), "its 10 outputs .* allowed are 1, 2, 5, 10"),
        (lambda: sl.blocks((16, 10), block=(4, 4)), "its 10 inputs are no multiple of 4"),
        (lambda: sl.blocks((16, 16), block=(0, 1)), "two positive integers, got"),
        (lambda: sl.blocks((16, 16), block=8), "two positive integers, got 8"),
        (lambda: sl.blocks((16, 16), 0.99, block=(8, 8)), r"leaves no block .* below 0\.875"),
        (lambda: sl.blocks((16, 16), 1.5, block=(8, 8)), r"sparsity must be in \[0, 1\)"),
        (lambda: sl.n_of_m((4, 8), 5, 4), "1 <= N <= M, got 5:4"),
        (lambda: sl.n_of_m((4, 8), 0, 4), "1 <= N <= M, got 0:4"),
        (lambda: sl.n_of_m((4, 10), 2, 4), "10 inputs .* M may be 1, 2, 5, 10"),
        (lambda: sl.constant_fan_in((4, 10), 0.99), r"it must be below 0\.95"),
        (lambda: sl.constant_fan_in((4, 10), -0.1), r"sparsity must be in \[0, 1\)"),
        (lambda: NofM(2, 4).nearest((4, 8), 0.9), r"2:4 has a sparsity of 0\.5: .* got 0\.9"),
        (lambda: Blocks(8, 1).nearest((8, 8), None), "sparsity is missing"),
        (lambda: named("8:"), "structure must be blocks such as 8x1"),
        (lambda: named(8), "got 8"),
    ],
)
def test_bad_input_is_told_what_is_allowed(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_names_come_back():
    for name in ("4x1", "16x16", "2:4", "fan-in", "unstructured"):
        assert named(name).name == str(named(name)) == name
        assert named(named(name)) is named(named(name)) or named(name) == named(named(name))
    assert named("8×1") == Blocks(8, 1)
    assert named(None) == Unstructured()
    assert pickle.loads(pickle.dumps(NofM(2, 4))) == NofM(2, 4)


@pytest.mark.parametrize("name", ["8x1", "4x4", "2:4", "fan-in"])
def test_layers_compute_and_are_kept_as_with_any_connections(name, tmp_path):
    structure = named(name)
    layer = (
        sl.SparseLinear(16, 24, connectivity=structure.draw((24, 16), generator=seeded()))
        if (":" not in name)
        else sl.SparseLinear(16, 24, connectivity=sl.n_of_m((24, 16), 2, 4, generator=seeded()))
    )
    x = torch.randn(5, 16, requires_grad=True)
    dense = layer.to_dense()
    torch.testing.assert_close(layer(x), dense(x))
    layer(x).square().sum().backward()
    given = x.grad.clone()
    x.grad = None
    dense(x).square().sum().backward()
    torch.testing.assert_close(given, x.grad)
    torch.testing.assert_close(layer.weights.grad, dense.weight.grad[layer.connectivity.mask()])

    converted = copy.deepcopy(layer).double().float()
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), converted):
        structure.check(again.connectivity)
        assert torch.equal(again(x), layer(x))
    torch.save(layer.state_dict(), tmp_path / "state.pt")
    other = sl.SparseLinear(16, 24, sparsity=0.7)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(other(x), layer(x))
    structure.check(other.connectivity)
    averaged = sl.AveragedModel(layer)
    averaged.update_parameters(layer)
    assert torch.equal(averaged(x), layer(x))


def test_blocks_of_output_channels_convolve():
    blocks = sl.blocks((8, 4 * 9), 0.75, block=(4, 1), generator=seeded())
    layer = sl.SparseConv2d(4, 8, 3, padding=1, connectivity=blocks)
    dense = layer.to_dense()
    assert isinstance(dense, nn.Conv2d)
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(layer(x), dense(x))
    # Channels of a block see the same places of the same images.
    seen = dense.weight.detach().ne(0).view(2, 4, 4, 9)
    assert torch.equal(seen[:, :1].expand_as(seen), seen)

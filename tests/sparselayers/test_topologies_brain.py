"""Receptive fields, correlated inputs and initial weights: laws, and small cases by hand."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sparselayers as sl
from sparselayers.topologies import correlated, receptive_fields, successive

sizes = st.integers(1, 40)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(sizes, sizes),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from([0.0, 0.1, 0.3, 0.8, 1.0]),
    st.sampled_from(["fixed", "uniform"]),
    st.integers(0, 99),
)
def test_receptive_fields_are_exact_and_reproducible(shape, sparsity, randomness, degrees, seed):
    nnz = round((1 - sparsity) * shape[1] * shape[0])
    options = {"randomness": randomness, "degrees": degrees}
    if nnz < (shape[0] if degrees == "uniform" else 1):
        with pytest.raises(ValueError, match="sparsity"):
            receptive_fields(shape, sparsity, **options)
        return
    one = receptive_fields(shape, sparsity, generator=seeded(seed), **options)
    two = receptive_fields(shape, sparsity, generator=seeded(seed), **options)
    assert (one.shape, one.nnz) == (shape, nnz)
    assert one.equals(two)
    counts = one.row_ptr.diff()
    if degrees == "fixed":
        assert int(counts.max() - counts.min()) <= 1
    else:
        assert int(counts.min()) >= 1


def test_without_randomness_the_nearest_are_connected():
    # Four outputs above eight inputs: their places are 1, 3, 5 and 7 on a ring.
    layer = receptive_fields((4, 8), 1 - 12 / 32, randomness=0)
    expected = [{0, 1, 2}, {2, 3, 4}, {4, 5, 6}, {6, 7, 0}]
    assert [set(row.nonzero().flatten().tolist()) for row in layer.mask()] == expected


def successive_chances(weights, count):
    """How likely each place is among `count` drawn one after the other: all orders summed up."""
    chances = torch.zeros(len(weights))
    for order in itertools.permutations(range(len(weights)), count):
        chance, left = 1.0, sum(weights)
        for place in order:
            chance *= weights[place] / left
            left -= weights[place]
        chances[list(order)] += chance
    return chances


@pytest.mark.parametrize("explicit", [True, False])
def test_draws_follow_the_law(explicit, monkeypatch):
    """Every clock drawn, and only those that ring, with times that are too short at first."""
    weights = torch.tensor([1.0, 0.5, 0.5, 0.2, 0.2, 0.1], dtype=torch.float64)
    rows = 20_000
    if not explicit:
        monkeypatch.setattr(successive, "_time", lambda *_: 1.5)
    counts = torch.full((rows,), 3)
    (drawn,) = successive.successive_draws(weights, counts, seeded())
    assert torch.bincount(drawn[0], minlength=rows).tolist() == [3] * rows
    assert torch.unique(drawn[0] * 6 + drawn[1]).numel() == 3 * rows
    found = torch.bincount(drawn[1], minlength=6) / rows
    expected = successive_chances(weights.tolist(), 3)
    assert ((found - expected).abs() < 4.5 * (expected * (1 - expected) / rows).sqrt()).all()


def test_many_to_choose_from():
    """A draw for every place would make four thousand million of them."""
    layer = receptive_fields((2_000, 2_000_000), 1 - 5e-6, randomness=0.5, generator=seeded())
    assert layer.nnz == 20_000
    assert int(layer.row_ptr.diff().min()) == int(layer.row_ptr.diff().max()) == 10


def test_high_randomness_is_uniform():
    layer = receptive_fields((2000, 100), 0.9, randomness=1.0, generator=seeded())
    counts = layer.transposed.col_ptr.diff().double()
    assert ((counts - 200).abs() < 5 * math.sqrt(200)).all()


def test_correlated_by_hand():
    # Inputs 0 and 1 rise together, 2 falls with them (but not always), 3 never changes.
    samples = torch.tensor([[0.0, 1.0, 3.0, 7.0], [1.0, 3.0, 2.0, 7.0], [2.0, 5.0, 2.0, 7.0]])
    assert correlated((4, 4), 1 - 2 / 16, samples=samples).mask().nonzero().tolist() == [
        [0, 1],
        [1, 0],
    ]
    four = correlated((4, 4), 1 - 6 / 16, samples=samples).mask()
    assert four.nonzero().tolist() == [[0, 1], [0, 2], [1, 0], [1, 2], [2, 0], [2, 1]]
    # More outputs than inputs: the pattern again; fewer: its beginning.
    twice = correlated((8, 4), 1 - 4 / 32, samples=samples).mask()
    assert twice.nonzero().tolist() == [[0, 1], [1, 0], [4, 1], [5, 0]]
    assert correlated((1, 4), 0.75, samples=samples).mask().nonzero().tolist() == [[0, 1]]


@pytest.mark.parametrize("shape", [(7, 9), (9, 9), (25, 9)])
def test_correlated_is_the_top_of_the_matrix(shape, monkeypatch):
    monkeypatch.setitem(correlated.__globals__, "_BLOCK", 20)
    samples = torch.randn(30, 9, generator=seeded())
    matrix = torch.corrcoef(samples.t().double()).abs().fill_diagonal_(-1)
    whole = matrix[torch.arange(shape[0]) % 9].round(decimals=9).flatten()
    top = torch.argsort(whole, stable=True, descending=True)[: round(0.3 * whole.numel())]
    found = correlated(shape, 0.7, samples=samples)
    assert found.mask().flatten().nonzero().flatten().tolist() == top.sort().values.tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: receptive_fields((4, 4), 1.0), "sparsity must be"),
        (lambda: receptive_fields((4, 4), randomness=1.1), r"randomness must be in \[0, 1\]"),
        (lambda: receptive_fields((4, 4), degrees="free"), "one of fixed, uniform"),
        (lambda: receptive_fields((9, 4), 0.8, degrees="uniform"), "cannot reach all 9 outputs"),
        (lambda: correlated((4, 4), samples=torch.ones(3, 5)), r"\(n, 4\) .* got \(3, 5\)"),
        (lambda: correlated((4, 4), samples=torch.ones(1, 4)), "n of at least 2"),
        (lambda: correlated((4, 4), samples=torch.full((3, 4), math.inf)), "finite"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("init", "variance"), [("kaiming", 2.0), ("lognormal", 1 / 3)])
def test_initial_weights_have_their_law(init, variance):
    mask = torch.zeros(2, 40_000, dtype=torch.bool)
    mask[0, :10_000], mask[1] = True, True
    layer = sl.SparseLinear(40_000, 2, connectivity=mask, init=init, generator=seeded())
    for connections, drawn in zip(
        (10_000, 40_000), layer.weights.detach().split([10_000, 40_000]), strict=True
    ):
        scaled = drawn.double() * math.sqrt(connections)
        assert abs(float(scaled.mean())) < 0.05
        if init == "kaiming":
            assert float(scaled.var()) == pytest.approx(variance, rel=0.05)
            continue
        # Of a lognormal the variance is mostly that of a few: its logarithm is normal.
        logs = scaled.abs().log()
        assert float(logs.std()) == pytest.approx(1.0, abs=0.03)
        second_moment = math.exp(2 * float(logs.mean()) + 2)
        assert second_moment == pytest.approx(variance, rel=0.08)
        assert abs(float(scaled.sign().mean())) < 0.05

"""Topologies: invariants for all of them, tables worked by hand, and the laws they draw from."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sparselayers as sl
from sparselayers.topologies import (
    erdos_renyi,
    erdos_renyi_sparsities,
    from_edges,
    from_mask,
    random,
    small_world,
)
from sparselayers.topologies.keys import absent, contains, keys_of
from sparselayers.topologies.sampling import distinct_in_groups, distinct_integers
from sparselayers.topologies.small_world import decay_exponent
from tests import peaks


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def connections(shape, sparsity):
    return round((1 - sparsity) * shape[1] * shape[0])


sizes = st.integers(1, 40)
sparsities = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize("topology", [random, erdos_renyi, small_world])
@given(
    shape=st.tuples(sizes, sizes), sparsity=sparsities, seed=st.integers(0, 99), each=st.booleans()
)
def test_every_topology_is_exact_and_reproducible(topology, shape, sparsity, seed, each):
    nnz = connections(shape, sparsity)
    least = max(1, shape[0] if each else 0, min(shape) + 1 if topology is small_world else 0)
    if nnz < least:
        with pytest.raises(ValueError, match="sparsity"):
            topology(shape, sparsity, every_output=each)
        return
    one = topology(shape, sparsity, every_output=each, generator=seeded(seed))
    two = topology(shape, sparsity, every_output=each, generator=seeded(seed))
    assert (one.shape, one.nnz) == (shape, nnz)  # its constructor has checked order and range
    assert torch.equal(one.col, two.col)
    assert torch.equal(one.row_ptr, two.row_ptr)
    assert not each or int(one.row_ptr.diff().min()) >= 1


@pytest.mark.parametrize("topology", [random, erdos_renyi, small_world])
def test_without_a_generator_the_global_seed_rules(topology):
    torch.manual_seed(3)
    one = topology((20, 30), 0.8)
    two = topology((20, 30), 0.8)
    torch.manual_seed(3)
    assert torch.equal(topology((20, 30), 0.8).mask(), one.mask())
    assert not torch.equal(two.mask(), one.mask())


@pytest.mark.parametrize("topology", [random, erdos_renyi, small_world])
@pytest.mark.parametrize("sparsity", [1.0, -0.1, math.nan, math.inf, 1.5])
def test_a_sparsity_that_is_none(topology, sparsity):
    with pytest.raises(ValueError, match=r"sparsity must be in \[0, 1\), got"):
        topology((5, 6), sparsity)


def test_a_sparsity_in_percent_is_told_how_it_is_said():
    with pytest.raises(ValueError, match=r"\[0, 1\), got 90 \(a fraction: 0.9 for 90%\)$"):
        random((5, 6), 90)
    with pytest.raises(ValueError, match=r"got 1.0$"):
        random((5, 6), 1.0)
    with pytest.raises(TypeError, match=r"sparsity must be a number in \[0, 1\), got '90%'"):
        random((5, 6), "90%")


@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.8])
def test_random_places_are_equally_likely(sparsity):
    draws = 1000
    counts = sum(random((3, 4), sparsity, generator=seeded(s)).mask().long() for s in range(draws))
    p = connections((3, 4), sparsity) / 12
    assert ((counts - draws * p).abs() < 4.5 * math.sqrt(draws * p * (1 - p))).all()


# Half, nearly all and few of the integers, and groups of nothing at all.
@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1)), min_size=1), st.integers(0, 99))
def test_groups_give_what_they_are_asked_for(groups, seed):
    sizes = torch.tensor([size for size, _ in groups])
    counts = torch.tensor([round(size * share) for size, share in groups])
    drawn = distinct_in_groups(sizes, counts, seeded(seed))
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    ends = sizes.cumsum(0)
    owners = torch.searchsorted(ends, drawn, right=True)
    assert torch.bincount(owners, minlength=len(groups)).tolist() == counts.tolist()


def test_integers_from_a_range_that_fits_no_memory():
    drawn = distinct_integers(2**61, 1000, seeded())
    assert drawn.unique().numel() == 1000
    assert abs(float(drawn.double().mean()) / 2**60 - 1) < 5 / math.sqrt(3 * 1000)


@given(st.sets(st.integers(0, 20)))
def test_absent_keys_are_counted(present):
    keys = torch.tensor(sorted(present), dtype=torch.int64)
    rest = [key for key in range(30) if key not in present]
    assert absent(torch.arange(len(rest)), keys).tolist() == rest
    assert contains(keys, torch.arange(30)).tolist() == [key in present for key in range(30)]


def test_every_output_moves_no_more_than_it_must():
    free = random((60, 40), 0.96, generator=seeded())
    covered = random((60, 40), 0.96, every_output=True, generator=seeded())
    empty = int((free.row_ptr.diff() == 0).sum())
    assert empty > 0
    assert not contains(keys_of(free), keys_of(covered)).all()
    assert int((~contains(keys_of(free), keys_of(covered))).sum()) == empty
    with pytest.raises(ValueError, match="96 connections cannot reach all 960 outputs"):
        random((960, 10), 0.99, every_output=True)


def test_erdos_renyi_counts_neurons():
    assert erdos_renyi((30, 50), epsilon=2.0).nnz == 160
    assert erdos_renyi((30, 50)).nnz == 150
    assert erdos_renyi((3, 6), epsilon=2.0).nnz == 18
    with pytest.raises(ValueError, match="not both"):
        erdos_renyi((30, 50), 0.9, epsilon=2.0)
    for epsilon in (0.0, -1.0, 2.01, 0.01, math.nan):
        with pytest.raises(ValueError, match="epsilon must be in"):
            erdos_renyi((3, 6), epsilon=epsilon)


def test_erdos_renyi_kernel_worked_by_hand():
    # Linear: ε (10 + 10) of 100 and ε (40 + 10) of 400 weights; a quarter of 500 is 125 = ε · 70.
    first, second = erdos_renyi_sparsities([(10, 10), (40, 10)], 0.75)
    assert (1 - first, 1 - second) == pytest.approx((0.2 * 125 / 70, 0.125 * 125 / 70))
    # Convolutional: (8 + 4 + 3 + 3) of 288 and (8 + 8 + 1 + 1) of 64 weights.
    shapes = [(8, 4, 3, 3), (8, 8, 1, 1)]
    first, second = erdos_renyi_sparsities(shapes, 0.9)
    assert (1 - first, 1 - second) == pytest.approx((35.2 / 36 / 16, 35.2 / 36 * 18 / 64))
    # Without the kernel the channels alone count: 12 / 32 and 16 / 64, of 288 and 64 weights.
    first, second = erdos_renyi_sparsities(shapes, 0.9, kernel=False)
    assert (1 - first) / (1 - second) == pytest.approx((12 / 32) / (16 / 64))
    # The small layer would need a density of 0.5 · 510 / 40 · 0.4 > 1: it is dense.
    assert erdos_renyi_sparsities([(2, 5), (20, 25)], 0.5) == pytest.approx([0.0, 0.51])


@given(
    st.lists(st.lists(st.integers(1, 12), min_size=2, max_size=4), min_size=1, max_size=6),
    sparsities,
    st.booleans(),
)
def test_layers_together_have_the_sparsity_of_the_model(shapes, sparsity, kernel):
    spread = erdos_renyi_sparsities(shapes, sparsity, kernel=kernel)
    weights = [math.prod(shape) for shape in shapes]
    kept = sum(weight * (1 - s) for weight, s in zip(weights, spread, strict=True))
    assert kept == pytest.approx((1 - sparsity) * sum(weights))
    assert all(-1e-9 <= s <= 1 for s in spread)


def test_models_that_have_no_distribution():
    with pytest.raises(ValueError, match="shapes is empty"):
        erdos_renyi_sparsities([], 0.5)
    with pytest.raises(ValueError, match=r"shapes\[1\] must be"):
        erdos_renyi_sparsities([(3, 4), (3,)], 0.5)
    with pytest.raises(ValueError, match=r"sparsity must be in \[0, 1\), got 1"):
        erdos_renyi_sparsities([(3, 4)], 1)


def test_the_exponent_worked_by_hand():
    # Two outputs centred on four inputs are |1 0 1 2| and |2 1 0 1| away: 2, 4 and 2 pairs.
    distances, pairs = torch.tensor([0.0, 1.0, 2.0]).double(), torch.tensor([2, 4, 2])
    assert decay_exponent(distances, pairs, 2 + 4 / 2 + 2 / 3) == pytest.approx(1, abs=1e-12)
    assert decay_exponent(distances, pairs, 2 + 4 / 4 + 2 / 9) == pytest.approx(2, abs=1e-12)
    assert decay_exponent(distances, pairs, 8) == 0


def probabilities(shape, nnz):
    """The published matrix of probabilities, whole, and its exponent by bisection."""
    shift = (max(shape) - min(shape)) / 2
    outputs = torch.arange(shape[0]).double() + (shift if shape[0] < shape[1] else 0)
    inputs = torch.arange(shape[1]).double() + (shift if shape[1] < shape[0] else 0)
    distances = (outputs[:, None] - inputs).abs()
    low, high = 0.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if float(((distances + 1) ** -middle).sum()) > nnz else (low, middle)
        )
    return distances, (distances + 1) ** -low


@pytest.mark.parametrize("shape", [(60, 60), (40, 75), (75, 40)])
@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_small_worlds_follow_the_published_law(shape, sparsity):
    """At every distance, and at every place, as often as the matrix of probabilities says."""
    draws = 60
    distances, expected = probabilities(shape, connections(shape, sparsity))
    counts = torch.zeros(shape, dtype=torch.int64)
    for seed in range(draws):
        counts += small_world(shape, sparsity, generator=seeded(seed)).mask()
    for distance in distances.unique():
        here = distances == distance
        mean = draws * float(expected[here].sum())
        assert abs(int(counts[here].sum()) - mean) <= 4.5 * math.sqrt(mean) + 1
    spread = (draws * expected * (1 - expected)).clamp(min=1).sqrt()
    tolerance = 7 * spread + 0.03 * draws * expected  # the latter for what was added or removed
    assert ((counts - draws * expected).abs() < tolerance).all()


def test_small_worlds_connect_all_neighbours():
    mask = small_world((50, 50), 0.9, generator=seeded()).mask()
    # A binomial with probability 1; only what makes the number exact may take one away.
    assert int(mask.diagonal().sum()) >= 45


@pytest.mark.parametrize(("shape", "sparsity"), [((10, 10), 0.9), ((10, 30), 0.98), ((1, 1), 0.0)])
def test_a_small_world_that_cannot_be(shape, sparsity):
    with pytest.raises(ValueError, match=rf"needs more than min\(out, in\) = {min(shape)}"):
        small_world(shape, sparsity)


def test_covering_a_small_world_keeps_to_its_law():
    shape, nnz, draws = (40, 10), 44, 200
    distances, _ = probabilities(shape, nnz)
    first = torch.zeros(10, dtype=torch.int64)
    for seed in range(draws):  # being far from all inputs, it mostly has what was moved to it
        first += small_world(shape, 0.89, every_output=True, generator=seeded(seed)).mask()[0]
    assert int(first.sum()) >= draws
    assert int(first[:5].sum()) > int(first[5:].sum())
    assert float(distances[0, 0]) < float(distances[0, 9])


def test_a_layer_takes_a_small_world():
    layer = sl.SparseLinear(30, 20, sparsity=0.8, small_world=True, generator=seeded())
    expected = small_world((20, 30), 0.8, generator=seeded())
    assert torch.equal(layer.connectivity.mask(), expected.mask())
    with pytest.raises(ValueError, match="a small world needs more than"):
        sl.SparseLinear(30, 20, sparsity=0.99, small_world=True)


def test_edges_in_any_order():
    edges = torch.tensor([[2, 0, 2, 0], [1, 3, 0, 1]])
    connectivity = from_edges(edges, (3, 4))
    assert connectivity.row.tolist() == [0, 0, 2, 2]
    assert connectivity.col.tolist() == [1, 3, 0, 1]
    assert torch.equal(from_edges(edges.to(torch.uint8), (3, 4)).mask(), connectivity.mask())
    assert edges.tolist() == [[2, 0, 2, 0], [1, 3, 0, 1]]


def test_repeated_edges_are_merged_with_a_warning():
    edges = torch.tensor([[1, 0, 1, 1], [2, 0, 2, 2]])
    with pytest.warns(UserWarning, match="2 of its 4 connections more than once; 2 distinct"):
        connectivity = from_edges(edges, (2, 3))
    assert connectivity.mask().nonzero().tolist() == [[0, 0], [1, 2]]


@pytest.mark.filterwarnings("ignore:.*more than once")
@given(st.lists(st.tuples(st.integers(-1, 5), st.integers(-1, 5)), min_size=1, max_size=20))
def test_arbitrary_edges_are_refused_or_right(pairs):
    edges = torch.tensor(pairs).t()
    if all(0 <= row < 4 and 0 <= col < 5 for row, col in pairs):
        mask = from_edges(edges, (4, 5)).mask()
        assert {tuple(edge) for edge in mask.nonzero().tolist()} == set(pairs)
        assert torch.equal(from_mask(mask).mask(), mask)
    else:
        with pytest.raises(
            ValueError, match=r"connectivity\[[01], \d+\] = (-1|4|5): an (out|in)put"
        ):
            from_edges(edges, (4, 5))


LONG = torch.zeros(1, dtype=torch.long)


@pytest.mark.parametrize(
    ("edges", "error", "message"),
    [
        ([[0], [1]], TypeError, "must be a tensor"),
        (
            torch.zeros(3, 2, dtype=torch.long),
            ValueError,
            r"\(2, nnz\): outputs, then inputs; got \(3, 2\)",
        ),
        (torch.zeros(2, dtype=torch.long), ValueError, r"got \(2,\)"),
        (torch.zeros(2, 3), ValueError, "integer type, got .* torch.float32"),
        (torch.zeros(2, 3, dtype=torch.bool), ValueError, "integer type"),
        (
            torch.zeros(2, 3, dtype=torch.long).to_sparse(),
            ValueError,
            "dense tensor .* torch.sparse_coo",
        ),
        (torch.zeros(2, 0, dtype=torch.long), ValueError, "connectivity is empty"),
        (
            torch.tensor([[0, 4], [0, 0]]),
            ValueError,
            r"\[0, 1\] = 4: an output index must be in \[0, 4\)",
        ),
        (torch.tensor([[0, 1], [0, -7]]), ValueError, r"\[1, 1\] = -7: an input index"),
    ],
)
def test_edges_that_are_none(edges, error, message):
    with pytest.raises(error, match=message):
        from_edges(edges, (4, 5))


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ([[True]], TypeError, "boolean tensor"),
        (torch.ones(2, 3), ValueError, "boolean matrix .* torch.float32"),
        (torch.ones(3, dtype=torch.bool), ValueError, r"boolean matrix .* \(3,\)"),
        (torch.zeros(2, 3, dtype=torch.bool), ValueError, "mask is empty"),
        (torch.ones(0, 3, dtype=torch.bool), ValueError, "shape must be"),
    ],
)
def test_masks_that_are_none(mask, error, message):
    with pytest.raises(error, match=message):
        from_mask(mask)


LARGE = """
import torch
from sparselayers import topologies
torch.set_num_threads(1)
shape, sparsity, made = (1_000_000, 1_000_000), 1 - 1e-5, {}
topologies.random((1000, 1000), 0.99).transposed
for name in ("random", "erdos_renyi", "small_world"):
    begin()
    connectivity = getattr(topologies, name)(shape, sparsity)
    connectivity.transposed
    made[name] = [connectivity.nnz, rise()]
    del connectivity
print(json.dumps(made))
"""


@pytest.mark.slow
@peaks.needed
def test_a_million_by_a_million_fits_in_a_gigabyte():
    """Ten million connections, their checks and their transpose; 10¹² bits would be 125 GB."""
    for name, (nnz, grown) in peaks.of(LARGE).items():
        assert nnz == 10_000_000
        assert grown < 1e9, f"{name} took {grown / 1e6:.0f} MB"

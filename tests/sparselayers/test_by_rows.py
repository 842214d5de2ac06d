"""What changes connections row by row, against sets and loops in plain Python."""

import math
import time
from contextlib import contextmanager
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import sparselayers as sl
from sparselayers import by_rows
from sparselayers.backends.native import library
from sparselayers.by_rows import drawing, kernels, merging
from sparselayers.topologies.keys import contains, from_keys, keys_of
from sparselayers.topology_change import TopologyChange
from tests import peaks

pytestmark = pytest.mark.skipif(not by_rows.serves(), reason="the C++ kernels were not built")

WORD = 2**64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@contextmanager
def threaded(number):
    """Have so many threads work on anything, however small."""
    before, worth = torch.get_num_threads(), library.WORTH_A_THREAD
    torch.set_num_threads(number)
    library.WORTH_A_THREAD = 1
    try:
        yield
    finally:
        torch.set_num_threads(before)
        library.WORTH_A_THREAD = worth


def alike(call):
    """Return what `call` returns, which is the same on one thread and on three."""
    with threaded(1):
        found = call()
    with threaded(3):
        again = call()
    for a, b in zip(found, again, strict=True):
        assert torch.equal(a, b)
    return found


def arrays(connectivity):
    return connectivity.row_ptr, connectivity.col


def pairs(connectivity):
    return set(zip(connectivity.row.tolist(), connectivity.col.tolist(), strict=True))


@st.composite
def layers(draw, *, most=9):
    """Connections of a small layer, and booleans for them."""
    rows, columns = draw(st.integers(1, most)), draw(st.integers(1, most))
    keys = sorted(draw(st.sets(st.integers(0, rows * columns - 1))))
    keep = draw(st.lists(st.booleans(), min_size=len(keys), max_size=len(keys)))
    made = from_keys(torch.tensor(keys, dtype=torch.int64), (rows, columns))
    return made, torch.tensor(keep, dtype=torch.bool)


NUMBERS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan]),
    st.floats(width=32),
)


@settings(max_examples=40)
@given(st.lists(st.tuples(NUMBERS, st.booleans()), min_size=1), st.data())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_smallest_go_and_of_equal_ones_the_first(dtype, numbers, data):
    worth = torch.tensor([number for number, _ in numbers], dtype=dtype)
    before = torch.tensor([there for _, there in numbers])
    count = data.draw(st.integers(0, int(before.sum())))

    def call():
        keep = before.clone()
        by_rows.drop_smallest(worth, keep, count)
        return (keep,)

    (keep,) = alike(call)
    there = before.nonzero().flatten()
    order = worth[there].float().argsort(stable=True)  # NaN is the largest for it too
    expected = before.clone()
    expected[there[order[:count]]] = False
    assert torch.equal(keep, expected)


@settings(max_examples=40)
@given(st.lists(NUMBERS), NUMBERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_above_a_bar(dtype, numbers, bar):
    found = by_rows.above(torch.tensor(numbers, dtype=dtype), bar)
    expected = [i for i, each in enumerate(numbers) if math.isnan(each) or not each <= bar]
    assert found.tolist() == expected


class Stream:
    """SplitMix64, as its authors give it, in integers that do not end."""

    STEP = 0x9E3779B97F4A7C15

    def __init__(self, seed, number):
        self.state = self.mixed(seed ^ self.mixed((number + self.STEP) % WORD))

    @staticmethod
    def mixed(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
        return z ^ (z >> 31)

    def below(self, n):
        self.state = (self.state + self.STEP) % WORD
        return self.mixed(self.state) * n // WORD


def scattered_slowly(taken, columns, count, seeds):
    """Draw as the kernels do: `taken` are sets of columns, one for each row."""
    free = [columns - len(row) for row in taken]
    drawn, left_out = [0] * len(taken), 2 * count > sum(free)
    stream = Stream(seeds[0], 0)
    missing = sum(free) - count if left_out else count
    alike = len(taken) * max(free) // 4 <= sum(free)
    while missing:
        if alike:
            row, place = stream.below(len(taken)), stream.below(max(free))
        else:
            row, place = 0, stream.below(sum(free))
            while place >= free[row]:
                row, place = row + 1, place - free[row]
        if place < free[row] - drawn[row]:
            drawn[row] += 1
            missing -= 1
    if left_out:
        drawn = [a - b for a, b in zip(free, drawn, strict=True)]
    found = set()
    for row, (there, wanted) in enumerate(zip(taken, drawn, strict=True)):
        stream, own = Stream(seeds[1], row + 1), set()
        if 2 * (len(there) + wanted) > columns:
            places = [column for column in range(columns) if column not in there]
            for number, column in enumerate(places):
                if len(own) < wanted and (stream.below(len(places) - number) < wanted - len(own)):
                    own.add(column)
        while len(own) < wanted:
            own |= {stream.below(columns) for _ in range(wanted - len(own))} - there
        found |= {(row, column) for column in own}
    return found


@st.composite
def crowded(draw):
    """Connections of a layer of which few outputs have a free place, and booleans for them."""
    rows, columns = draw(st.integers(5, 9)), draw(st.integers(1, 9))
    free = draw(st.lists(st.integers(0, columns - 1), max_size=columns, unique=True))
    mask = torch.ones(rows, columns, dtype=torch.bool)
    mask[draw(st.integers(0, rows - 1)), free] = False
    made = sl.from_mask(mask)
    keep = torch.ones(made.nnz, dtype=torch.bool)
    keep[list(draw(st.sets(st.integers(0, made.nnz - 1), max_size=2)))] = False
    return made, keep


@given(layers() | crowded(), st.booleans(), st.integers(0, 99), st.data())
def test_places_are_drawn_as_an_urn_gives_them(layer, some, seed, data):
    taken, keep = layer
    keep = keep if some else None
    counted = pairs(taken.select(keep)) if some else pairs(taken)
    rows, columns = taken.shape
    count = data.draw(st.integers(0, rows * columns - len(counted)))

    def call():
        return arrays(by_rows.scattered(taken, keep, count, seeded(seed)))

    row_ptr, col = alike(call)
    found = sl.Connectivity(taken.shape, row_ptr, col)  # in order, no place twice
    seeds = torch.randint(2**62, (2,), generator=seeded(seed)).tolist()
    there = [{column for row, column in counted if row == each} for each in range(rows)]
    assert pairs(found) == scattered_slowly(there, columns, count, seeds)
    assert found.nnz == count
    assert not pairs(found) & counted


def test_more_places_than_are_free_are_refused():
    taken = sl.from_mask(torch.tensor([[1, 0, 0], [1, 1, 1]]).bool())
    assert by_rows.scattered(taken, None, 2, seeded()).nnz == 2
    with pytest.raises(ValueError, match="at most 2 connections can grow, got 3"):
        by_rows.scattered(taken, None, 3, seeded())


@pytest.mark.parametrize(
    ("full", "count"), [(0, 2), (0, 6), (9, 2), (9, 6)], ids=["2", "6", "2 of few", "6 of few"]
)
def test_every_set_of_places_is_as_likely(full, count):
    """Rows with different numbers of free places, crowded ones among them, and full ones."""
    mask = [[1, 1, 1, 1]] * full + [[1, 0, 0, 0], [1, 1, 1, 0], [0, 1, 0, 0]]
    taken = sl.from_mask(torch.tensor(mask).bool())
    rows = range(taken.shape[0])
    free = sorted({(row, col) for row in rows for col in range(4)} - pairs(taken))
    generator, draws = seeded(), 2800
    seen = dict.fromkeys(combinations(free, count), 0)
    for _ in range(draws):
        seen[tuple(sorted(pairs(by_rows.scattered(taken, None, count, generator))))] += 1
    expected = draws / len(seen)
    assert all(abs(times - expected) < 5 * math.sqrt(expected) for times in seen.values())


def test_where_few_rows_have_free_places_a_draw_takes_not_much_longer():
    """As many draws, of a row that has half of all free places and of rows that have as many."""
    rows = 50_000
    pattern = library.kernels.Pattern32(rows, rows, 0, 0)
    drawn = torch.empty(rows, dtype=torch.int32)

    def seconds(free):
        start = time.thread_time()
        pattern.spread(free.data_ptr(), rows // 2, 1, drawn.data_ptr())
        taken = time.thread_time() - start
        assert drawn.sum() == rows // 2
        assert ((drawn >= 0) & (drawn <= free)).all()
        return taken

    alike, one = torch.full((rows,), 2).int(), torch.ones(rows).int()
    one[7] = rows
    assert seconds(one) < 500 * min(seconds(alike) for _ in range(3))


def test_more_connections_than_32_bits_count_are_counted_in_64(monkeypatch):
    counted = []

    def pointers(counts):
        counted.append(counts.dtype)
        return kernels.pointers(counts)

    for module in (drawing, merging):
        monkeypatch.setattr(module, "pointers", pointers)
        monkeypatch.setattr(
            module, "index_dtype", lambda shape, nnz: torch.int64 if nnz > 5 else torch.int32
        )
    taken = sl.from_mask(torch.eye(4, dtype=torch.bool))
    few, many = (by_rows.scattered(taken, None, count, seeded()) for count in (1, 6))
    both = [by_rows.merged(taken, None, each) for each in (few, many)]
    assert counted == [torch.int32, torch.int64] * 2
    assert [each.col.dtype for each in both] == [torch.int32, torch.int64]
    assert pairs(both[1]) == pairs(taken) | pairs(many)


@settings(max_examples=50)
@given(layers(), st.sets(st.integers(0, 80)))
def test_what_is_kept_and_what_has_grown_is_merged(layer, drawn):
    old, keep = layer
    places = old.shape[0] * old.shape[1]
    kept = old.select(keep)
    free = [key for key in sorted(drawn) if key < places and key not in keys_of(kept).tolist()]
    grown = from_keys(torch.tensor(free, dtype=torch.int64), old.shape)
    row_ptr, col = alike(lambda: arrays(by_rows.merged(old, keep, grown)))
    assert pairs(sl.Connectivity(old.shape, row_ptr, col)) == pairs(kept) | pairs(grown)
    if kept.nnz:
        with pytest.raises(ValueError, match="cannot grow where there is one already"):
            by_rows.merged(old, keep, kept)


@settings(max_examples=50)
@given(layers(), st.sets(st.integers(0, 80)))
def test_numbers_follow_their_connections(layer, drawn):
    old, _ = layer
    keys = sorted(key for key in drawn if key < old.shape[0] * old.shape[1])
    new = from_keys(torch.tensor(keys, dtype=torch.int64), old.shape)
    change = TopologyChange(old, new)
    was = keys_of(old).tolist()
    expected = [was.index(key) if key in was else -1 for key in keys]
    assert alike(lambda: (by_rows.places(old, new),))[0].tolist() == expected
    for dtype in (torch.float32, torch.bfloat16, torch.float64, torch.bool):
        tensor = (torch.arange(old.nnz) + 1).to(dtype)
        values = [tensor[place].item() if place >= 0 else 0 for place in expected]
        assert alike(lambda tensor=tensor: (change.carry(tensor),))[0].tolist() == values


def moved(kind, rows, columns, generator):
    """Connections before and after, as many, where rows move on in memory, or back, or both."""
    share = torch.linspace(0.02, 0.3, rows)
    before = {"on": share, "back": share.flip(0), "both": (share * 40).sin().abs() * 0.3}[kind]
    old = (torch.rand(rows, columns, generator=generator) < before[:, None]).flatten()
    new = torch.rand(rows, columns, generator=generator) < before.flip(0)[:, None]
    new = new.flatten() | (old & (torch.rand(rows * columns, generator=generator) < 0.5))
    keys = [mask.nonzero().flatten() for mask in (old, new)]
    least = min(map(len, keys))
    return [
        from_keys(each[torch.randperm(len(each), generator=generator)[:least]].sort().values,
                  (rows, columns))
        for each in keys
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["on", "back", "both"])
@pytest.mark.parametrize("rows", [1500, 3])
def test_numbers_move_in_place(kind, rows):
    """Several blocks of rows: what one writes, another is still to read."""
    old, new = moved(kind, rows, 3_000_000 // rows, seeded())
    tensors = [torch.arange(1, old.nnz + 1), torch.arange(1.0, old.nnz + 1)]
    expected = torch.zeros(old.nnz, dtype=torch.int64)
    was, now = keys_of(old), keys_of(new)
    stayed = contains(was, now)
    expected[stayed] = torch.searchsorted(was, now[stayed]) + 1
    for threads in (1, 3):
        own = [tensor.clone() for tensor in tensors]
        own.append(own[0])  # twice in the optimizer's state: moved once
        versions = [tensor._version for tensor in own]
        with threaded(threads):
            TopologyChange(old, new).move(own)
        assert torch.equal(own[0], expected)
        assert torch.equal(own[1], expected.float())
        assert all(tensor._version > version for tensor, version in zip(own, versions, strict=True))


def test_candidates_follow_their_chances():
    present = sl.random((30, 40), 0.9, generator=seeded())
    outputs, inputs = torch.rand(30).double(), torch.rand(40).double()
    outputs[3] = inputs[5] = 0
    size, seen = 400, torch.zeros(30, 40)
    for seed in range(300):
        drawn = by_rows.Candidates(present, outputs, inputs, size, seeded(seed))
        for rows in drawn.blocks(50):
            drawn.draw(rows)
        found = drawn.found()
        sl.Connectivity(found.shape, *arrays(found))
        seen += found.mask()
    chance = outputs[:, None] * inputs / (outputs.sum() * inputs.sum())
    expected = 300 * (1 - (1 - chance) ** size)
    expected[present.mask()] = 0
    assert not seen[expected == 0].any()
    assert ((seen - expected).abs() <= 5 * expected.sqrt() + 1e-9).all()


@pytest.mark.parametrize("weights", [None, torch.zeros(50).double()])
def test_candidates_depend_on_neither_blocks_nor_threads(weights):
    present = sl.random((50, 50), 0.9, generator=seeded())

    def call(most=30):
        drawn = by_rows.Candidates(present, weights, weights, 500, seeded())
        pieces = []
        for rows in drawn.blocks(most):
            piece = drawn.draw(rows)
            pieces.append(keys_of(piece) + rows.start * 50)
        found = drawn.found()
        assert torch.equal(torch.cat(pieces), keys_of(found))
        return arrays(found)

    found = alike(call)
    for most in (1, 10**6):
        assert all(torch.equal(a, b) for a, b in zip(found, call(most), strict=True))


def trained(rule, threads=2, **settings):
    """Return a layer after some rewirings, with weights that none of its threads rounds apart."""
    with threaded(threads):
        torch.manual_seed(0)
        layer = sl.SparseLinear(60, 50, sparsity=0.8, generator=seeded(), dtype=torch.float64)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
        chosen = {"update_every": 2, "stop_after": 9, "generator": seeded(3)} | settings
        rewirer = rule(layer, optimizer, **chosen)
        for _ in range(8):
            x = torch.randn(8, 60, dtype=torch.float64)
            optimizer.zero_grad()
            (layer(x) - 1).square().mean().backward()
            optimizer.step()
            rewirer.step()
        return layer, optimizer.state[layer.weights]


@pytest.mark.parametrize("regrow", [False, True])
@pytest.mark.parametrize("rule", [sl.SET, sl.dynamic.MEST, sl.RigL, sl.dynamic.GSE])
def test_threads_change_nothing(rule, regrow):
    (first, one), (second, other) = (trained(rule, n, regrow_dropped=regrow) for n in (1, 3))
    assert first.connectivity.equals(second.connectivity)
    assert torch.allclose(first.weights, second.weights)
    assert torch.allclose(one["exp_avg"], other["exp_avg"])


@pytest.mark.parametrize("regrow", [False, True])
@pytest.mark.parametrize(
    ("rule", "settings"), [(sl.RigL, {}), (sl.dynamic.GSE, {"candidates": 1000.0})]
)
def test_without_kernels_it_is_the_same(monkeypatch, rule, settings, regrow):
    layer, state = trained(rule, regrow_dropped=regrow, **settings)
    monkeypatch.setattr(by_rows.kernels, "built", lambda: False)
    other, kept = trained(rule, regrow_dropped=regrow, **settings)
    assert layer.connectivity.equals(other.connectivity)
    assert torch.equal(layer.weights, other.weights)
    assert torch.equal(state["exp_avg"], kept["exp_avg"])


def test_without_kernels_set_grows_elsewhere_and_as_many(monkeypatch):
    monkeypatch.setattr(by_rows.kernels, "built", lambda: False)
    layer, _ = trained(sl.SET)
    assert layer.connectivity.nnz == 600


def test_a_rule_that_grows_what_is_there_is_refused():
    class Wrong(sl.SET):
        def grow(self, site, count):
            return site.kept[:count]

    layer = sl.SparseLinear(20, 10, sparsity=0.5)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewirer = Wrong(layer, optimizer, update_every=1, stop_after=9)
    layer(torch.ones(1, 20)).sum().backward()
    optimizer.step()
    before = layer.connectivity
    with pytest.raises(ValueError, match="cannot grow where there is one already"):
        rewirer.step()
    assert layer.connectivity is before


def test_a_rule_that_says_what_is_kept_by_every_other_number_keeps_that():
    class Strided(sl.SET):
        def percolate(self, sites, kept):
            return {name: torch.stack((keep, ~keep), 1)[:, 0] for name, keep in kept.items()}

    layer = sl.SparseLinear(20, 10, sparsity=0.5)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewirer = Strided(layer, optimizer, update_every=1, stop_after=9, fraction=0.2)
    layer(torch.ones(1, 20)).sum().backward()
    optimizer.step()
    before, sizes = layer.connectivity, layer.weights.detach().abs()
    rewirer.step()
    stayed = pairs(layer.connectivity) & pairs(before)
    assert layer.connectivity.nnz == before.nnz > len(stayed)
    smallest = sizes.sort().values[before.nnz - len(stayed)]
    assert stayed == pairs(before.select(sizes >= smallest))


def test_a_rule_that_grows_connections_of_another_shape_is_refused():
    class Wide(sl.SET):
        def grow(self, site, count):
            col = torch.full((count,), 99, dtype=torch.int32)
            row_ptr = torch.arange(11, dtype=torch.int32).clamp(max=count)
            return sl.Connectivity((10, 100), row_ptr, col)

    layer = sl.SparseLinear(20, 10, sparsity=0.9)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewirer = Wide(layer, optimizer, update_every=1, stop_after=9, fraction=0.2)
    layer(torch.ones(1, 20)).sum().backward()
    optimizer.step()
    before = layer.connectivity
    with pytest.raises(RuntimeError, match=r"of shape \(10, 100\), where the layer has \(10, 20\)"):
        rewirer.step()
    assert layer.connectivity is before


def test_a_rule_made_of_set_sees_the_gradient():
    seen = []

    class Seeing(sl.SET):
        def worth(self, site):
            seen.append(site.step.gradient)
            return super().worth(site)

    layer = nn.Sequential(sl.SparseLinear(20, 10, sparsity=0.5))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewirer = Seeing(layer, optimizer, update_every=1, stop_after=9)
    layer(torch.ones(1, 20)).sum().backward()
    optimizer.step()
    rewirer.step()
    assert seen[0].shape == (100,)
    assert not sl.SET.reads_gradient


SCRIPT = """
import torch
import sparselayers as sl

def rewire(width, each):
    layer = sl.SparseLinear(width, width, sparsity=1 - each / width)
    x = torch.randn(4, width)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    rewirer = sl.dynamic.{rule}(layer, optimizer, update_every=1, stop_after=10**6)
    layer(x).sum().backward()
    optimizer.step()
    begin()
    rewirer.step()
    return rise() / layer.weights.numel()

rewire(64, 4)
print(json.dumps(rewire(10_000, 100)))
"""


@peaks.needed
@pytest.mark.parametrize(("rule", "most"), [("SET", 11), ("GSE", 30)])
def test_a_rewiring_takes_few_bytes_a_connection(rule, most):
    """Above what the layer holds, at a million connections; some of it are blocks of rows."""
    assert peaks.of(SCRIPT.replace("{rule}", rule)) < most

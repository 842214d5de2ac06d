"""Row blocks: found among the connections, computed together, and chosen where they gain."""

import copy
import io

import pytest
import torch

import sparselayers as sl
from sparselayers.backends import BACKENDS
from sparselayers.backends.native import calibration, library
from sparselayers.backends.native.calibration import Costs, Point
from sparselayers.backends.native.choice import choose
from sparselayers.structures import row_blocks as structure
from sparselayers.structures.row_blocks import row_block
from tests import instruction_sets

native_only = pytest.mark.skipif(
    BACKENDS["native"].unavailable() is not None, reason="the C++ kernels were not built"
)
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
ALL = (True, True, True)
WAY = BACKENDS["row_blocks"]


def blocks(shape, height, density=0.3, seed=0):
    """Connections in blocks of `height` rows: the first block empty, the last full."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(shape[0] // height, shape[1], generator=generator) < density
    mask[0], mask[-1] = False, True
    return sl.from_mask(mask.repeat_interleave(height, 0))


def given(connectivity, batch, dtype=torch.float32):
    """Values, bias, x and dy of a layer with these connections."""
    generator = torch.Generator().manual_seed(1)
    outputs, inputs = connectivity.shape
    sizes = (connectivity.nnz,), (outputs,), (batch, inputs), (batch, outputs)
    return connectivity, *(torch.randn(*s, generator=generator).to(dtype) for s in sizes)


def products(backend, connectivity, values, bias, x, dy):
    """Return y and the three gradients."""
    arranged = backend.arrange(x, connectivity)
    y = backend.forward(arranged, values, bias, connectivity)
    return y, *backend.backward(dy, arranged, values, connectivity, needs=ALL)


def check(connectivity, values, bias, x, dy):
    """Compare all products with the reference's, relative to the largest of each."""
    exact = [tensor.double() for tensor in (values, bias, x, dy)]
    expected = products(BACKENDS["reference"], connectivity, *exact)
    found = products(WAY, connectivity, values, bias, x, dy)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == values.dtype
        assert ours.shape == theirs.shape
        scale = theirs.abs().max().clamp(min=1e-30) if theirs.numel() else 1
        torch.testing.assert_close(
            ours.double() / scale, theirs / scale, rtol=0, atol=TOLERANCE[values.dtype]
        )


@pytest.mark.parametrize(
    ("shape", "height", "expected"),
    [
        ((64, 30), 16, 16),
        ((64, 30), 8, 8),
        ((64, 30), 4, 4),
        ((64, 30), 2, 1),
        ((64, 30), 32, 16),  # taller blocks are blocks of 16 as well
        ((40, 30), 8, 8),
        ((24, 30), 8, 8),
        ((12, 30), 12, 4),  # all rows equal, and 12 is no height
    ],
)
def test_the_largest_height_is_found(shape, height, expected):
    assert row_block(blocks(shape, height, seed=3)) == expected


def test_a_single_connection_elsewhere_is_no_block():
    mask = blocks((64, 30), 16).mask()
    assert row_block(sl.from_mask(mask)) == 16
    row = 37
    here, absent = mask[row].nonzero()[0], (~mask[row]).nonzero()[0]
    mask[row, here], mask[row, absent] = False, True  # as many in the row as before
    assert row_block(sl.from_mask(mask)) == 1
    mask = blocks((64, 30), 16).mask()
    mask[32:36, here], mask[32:36, absent] = ~mask[32:36, here], ~mask[32:36, absent]
    assert row_block(sl.from_mask(mask)) == 4


@pytest.mark.parametrize(
    ("connectivity", "expected"),
    [
        (sl.random((60, 50), sparsity=0.9), 1),
        (sl.Connectivity((16, 5), torch.zeros(17, dtype=torch.int32), torch.zeros(0).int()), 1),
        (sl.from_mask(torch.ones(16, 5, dtype=torch.bool)), 16),
        (sl.from_mask(torch.ones(6, 5, dtype=torch.bool)), 1),
        (sl.from_mask(torch.ones(1, 5, dtype=torch.bool)), 1),
    ],
)
def test_what_is_random_empty_or_full(connectivity, expected):
    assert row_block(connectivity) == expected


def test_rows_of_equal_length_are_no_blocks():
    every = torch.stack([torch.randperm(50)[:5].sort().values for _ in range(64)])
    row_ptr = torch.arange(0, 5 * 65, 5)
    assert row_block(sl.Connectivity((64, 50), row_ptr, every.flatten())) == 1


def test_connections_are_compared_in_parts(monkeypatch):
    monkeypatch.setattr(structure, "_AT_ONCE", 50)
    assert row_block(blocks((320, 30), 8)) == 8
    mask = blocks((320, 30), 8).mask()
    mask[315, 0], mask[315, 1] = False, False
    assert row_block(sl.from_mask(mask)) == 1


def test_every_workflow_keeps_it():
    layer = sl.SparseLinear(30, 64, connectivity=blocks((64, 30), 8))
    other = sl.SparseLinear(30, 64, sparsity=0.5)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    for made in (other, copy.deepcopy(layer), layer.to("cpu").double().float()):
        assert row_block(made.connectivity) == 8
    whole = io.BytesIO()
    torch.save(layer, whole)
    whole.seek(0)
    assert row_block(torch.load(whole, weights_only=False).connectivity) == 8


@native_only
@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "bfloat16"])
@pytest.mark.parametrize("batch", [0, 1, 2, 3, 4, 5, 7, 17, 40, 130])
@pytest.mark.parametrize("height", structure.HEIGHTS)
def test_matches_the_reference(height, batch, dtype):
    for shape in (64, 70), (9 * 16, 129), (32, 1), (16, 1200):
        check(*given(blocks(shape, height), batch, dtype))


@native_only
@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "bfloat16"])
@pytest.mark.parametrize("batch", [6, 33, 130])
@pytest.mark.parametrize("height", structure.HEIGHTS)
def test_blocks_of_every_number_of_columns(height, batch, dtype):
    mask = torch.ones(110, 110, dtype=torch.bool).tril(-1).flip(1)
    check(*given(sl.from_mask(mask.repeat_interleave(height, 0)), batch, dtype))


@native_only
@pytest.mark.parametrize("batch", [64, 96, 120, 128, 129, 300])
def test_tiles_of_every_width(batch):
    check(*given(blocks((320, 90), 8), batch))


@native_only
@pytest.mark.parametrize("batch", [1, 6, 130])
def test_layers_of_more_inputs_than_16_bits_name(batch):
    wide = (1 << 16) + 70
    col = torch.cat([torch.arange(0, wide, 997), torch.tensor([wide - 1])])
    row_ptr = torch.arange(0, 16 * len(col) + 1, len(col))
    check(*given(sl.Connectivity((16, wide), row_ptr, col.repeat(16)), batch))


@native_only
@pytest.mark.parametrize("batch", [1, 3, 9])
@pytest.mark.parametrize("height", structure.HEIGHTS)
def test_strides(height, batch):
    connectivity, values, bias, x, dy = given(blocks((32, 70), height), batch)
    check(connectivity, values, bias, x.t().contiguous().t(), dy.t().contiguous().t())
    padded = torch.randn(batch, 100)
    padded[:, 10:80] = x
    check(connectivity, values, bias, padded[:, 10:80], dy.repeat(2, 1)[::2].contiguous())
    check(connectivity, values, bias, x[:1].expand(batch, 70), dy[:, :1].expand(batch, 32))


@native_only
@pytest.mark.parametrize("batch", [1, 3, 20])
def test_the_product_alone_is_laid_out_by_feature(batch):
    connectivity, values, _, x, _ = given(blocks((32, 70), 4), batch)
    y = WAY.product(x, values, connectivity)
    assert y.t().is_contiguous()
    torch.testing.assert_close(y, WAY.forward(x, values, None, connectivity))


@native_only
@pytest.mark.parametrize(
    "needs", [(True, False, False), (False, True, False), (False, False, True)]
)
@pytest.mark.parametrize("batch", [2, 9, 140])
def test_single_gradients_are_those_of_all(batch, needs):
    for dtype in TOLERANCE:
        connectivity, values, _, x, dy = given(blocks((32, 70), 4), batch, dtype)
        every = WAY.backward(dy, x, values, connectivity, needs=ALL)
        single = WAY.backward(dy, x if needs[1] else None, values, connectivity, needs=needs)
        for one, of_all, needed in zip(single, every, needs, strict=True):
            assert (one is not None) == needed
            if one is not None:
                torch.testing.assert_close(one, of_all)


@native_only
@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "bfloat16"])
@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("batch", [3, 11])
def test_what_is_not_finite_reaches_only_what_is_connected(batch, number, dtype):
    connectivity, values, bias, x, dy = given(blocks((48, 70), 4), batch, dtype)
    x[1, 5] = dy[2, 7] = number
    mask = connectivity.mask()
    y = WAY.forward(x, values, bias, connectivity)
    dx = WAY.grad_input(dy, values, connectivity)
    for found, sample, reached in ((y, 1, mask[:, 5]), (dx, 2, mask[7])):
        assert torch.equal(~found[sample].isfinite(), reached)
        others = [row for row in range(batch) if row != sample]
        assert found[others].isfinite().all()
    dweights = WAY.grad_values(dy, x, connectivity)
    reached = mask & ((torch.arange(70) == 5) | (torch.arange(48) == 7)[:, None])
    assert torch.equal(~dweights.isfinite(), reached[mask])


@native_only
@pytest.mark.parametrize("batch", [1, 4, 64, 150])
def test_the_same_bits_again_and_by_any_number_of_threads(batch):
    problem = given(blocks((512, 1100), 8), batch)
    before = torch.get_num_threads()
    try:
        found = {}
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found[threads], again = (products(WAY, *problem) for _ in range(2))
            assert all(torch.equal(a, b) for a, b in zip(found[threads], again, strict=True))
        if batch > 4:  # the threads of smaller batches add their parts of dx up
            same = zip(found[1][:3], found[2][:3], strict=True)
            assert all(torch.equal(a, b) for a, b in same)
    finally:
        torch.set_num_threads(before)


@native_only
def test_nothing_behind_the_values_is_touched():
    for batch in (1, 9):
        connectivity, values, bias, x, dy = given(blocks((32, 65), 4), batch)
        room = torch.full((values.numel() + 64,), torch.nan)
        room[: values.numel()] = values
        y = WAY.forward(x, room[: values.numel()], bias, connectivity)
        torch.testing.assert_close(y, BACKENDS["lanes"].forward(x, values, bias, connectivity))
        assert WAY.grad_input(dy, room[: values.numel()], connectivity).isfinite().all()
        assert WAY.grad_values(dy, x, connectivity).isfinite().all()


@native_only
def test_a_layer_without_blocks_says_so():
    layer = sl.SparseLinear(30, 20, sparsity=0.5, backend="row_blocks")
    with pytest.raises(ValueError, match=r"16, 8 or 4 outputs in a row .*\(20, 30\) has none"):
        layer(torch.ones(1, 30))


def costs(**ways):
    """Costs of ways for each connection, the same for every batch."""
    found = {
        way: {product: [Point(1, 0.0, each)] for product in calibration.PRODUCTS}
        for way, each in ways.items()
    }
    return Costs(found, "made up", 0.0)


@native_only
@pytest.mark.parametrize("sparsity", [0.5, 0.95])
def test_chosen_at_any_sparsity_where_they_are_estimated_to_be_faster(monkeypatch, sparsity):
    made = costs(lanes=2e-6, row_blocks=1e-6)
    monkeypatch.setattr(calibration, "costs", lambda dtype: made)
    few = sl.random((16, 100), sparsity=sparsity).mask()
    layer = sl.SparseLinear(100, 64, connectivity=sl.from_mask(few.repeat_interleave(4, 0)))
    plan = layer.plan(8)
    assert plan.forward.ways == ("row_blocks",)
    assert plan.backward.ways == ("row_blocks", "row_blocks")
    assert "row_blocks: the least estimate by costs made up" in str(plan)
    x = torch.randn(8, 100, requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.to_dense().sum(0).expand(8, 100))


@native_only
@pytest.mark.parametrize("sparsity", [0.5, 0.95])
def test_never_chosen_without_blocks_nor_where_they_are_slower(monkeypatch, sparsity):
    made = costs(lanes=1e-6, row_blocks=2e-6)
    monkeypatch.setattr(calibration, "costs", lambda dtype: made)
    assert choose("y", 8, blocks((64, 30), 8, 1 - sparsity), torch.float32).way == "lanes"
    made = costs(lanes=2e-6, row_blocks=1e-6)
    at_random = sl.random((64, 30), sparsity=sparsity)
    for product in calibration.PRODUCTS:
        assert "row_blocks" not in choose(product, 8, at_random, torch.float32).ways
    assert choose("y", 8, blocks((64, 30), 8), torch.float64).way == "lanes"


@native_only
@pytest.mark.slow
@pytest.mark.parametrize("name", library.INSTRUCTION_SETS)
def test_every_instruction_set(name):
    instruction_sets.run(__file__, name)

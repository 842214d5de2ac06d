"""Row blocks: found among the connections, computed together, and chosen where they gain."""

import pytest
import torch

import sparselayers as sl
from sparselayers.backends import BACKENDS
from sparselayers.backends.native import calibration, library
from sparselayers.backends.native.choice import choose
from sparselayers.backends.native.probe import PRODUCTS
from sparselayers.structures import row_blocks as structure
from sparselayers.structures.row_blocks import row_block
from tests import instruction_sets
from tests.sparselayers.ways import TOLERANCE, blocks, check, costs, given

native_only = pytest.mark.skipif(
    BACKENDS["native"].unavailable() is not None, reason="the C++ kernels were not built"
)
WAY = BACKENDS["row_blocks"]


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


@native_only
@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "bfloat16"])
@pytest.mark.parametrize("batch", [6, 33, 130])
@pytest.mark.parametrize("height", structure.HEIGHTS)
def test_blocks_of_every_number_of_columns(height, batch, dtype):
    mask = torch.ones(110, 110, dtype=torch.bool).tril(-1).flip(1)
    check("row_blocks", *given(sl.from_mask(mask.repeat_interleave(height, 0)), batch, dtype))


@native_only
@pytest.mark.parametrize("batch", [64, 96, 120, 128, 129, 300])
def test_tiles_of_every_width(batch):
    check("row_blocks", *given(blocks((320, 90), 8), batch))


@native_only
@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("batch", [129, 300, 520])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "bfloat16"])
def test_threads_that_have_blocks_of_the_batch_of_their_own(dtype, batch, number, threads):
    threads(number)
    check("row_blocks", *given(blocks((320, 90), 8), batch, dtype))


@native_only
@pytest.mark.parametrize("batch", [1, 6, 130])
def test_layers_of_more_inputs_than_16_bits_name(batch):
    wide = (1 << 16) + 70
    col = torch.cat([torch.arange(0, wide, 997), torch.tensor([wide - 1])])
    row_ptr = torch.arange(0, 16 * len(col) + 1, len(col))
    check("row_blocks", *given(sl.Connectivity((16, wide), row_ptr, col.repeat(16)), batch))


@native_only
@pytest.mark.parametrize("batch", [1, 3, 20])
def test_the_product_alone_is_laid_out_by_feature(batch):
    connectivity, values, _, x, _ = given(blocks((32, 70), 4), batch)
    y = WAY.product(x, values, connectivity)
    assert y.t().is_contiguous()
    torch.testing.assert_close(y, WAY.forward(x, values, None, connectivity))


@native_only
def test_a_layer_without_blocks_says_so():
    layer = sl.SparseLinear(30, 20, sparsity=0.5, backend="row_blocks")
    with pytest.raises(ValueError, match=r"16, 8 or 4 outputs in a row .*\(20, 30\) has none"):
        layer(torch.ones(1, 30))


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
    for product in PRODUCTS:
        assert "row_blocks" not in choose(product, 8, at_random, torch.float32).ways
    assert choose("y", 8, blocks((64, 30), 8), torch.float64).way == "lanes"


@native_only
@pytest.mark.slow
@pytest.mark.parametrize("name", library.INSTRUCTION_SETS)
def test_every_instruction_set(name):
    instruction_sets.run(__file__, name)

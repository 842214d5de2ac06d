"""N of every M inputs: found among the connections, selected, and chosen where that gains."""

import pytest
import torch

import sparselayers as sl
from sparselayers.backends import BACKENDS
from sparselayers.backends.native import calibration, library, n_of_m
from sparselayers.backends.native.choice import choose
from sparselayers.backends.native.probe import PRODUCTS
from sparselayers.structures import groups as structure
from sparselayers.structures.groups import of_every
from tests import instruction_sets
from tests.sparselayers.ways import check, costs, given
from tests.sparselayers.ways import n_of_m as drawn

native_only = pytest.mark.skipif(
    BACKENDS["native"].unavailable() is not None, reason="the C++ kernels were not built"
)
KINDS = (1, 4), (2, 4), (2, 8), (4, 8)
kinds = pytest.mark.parametrize(("n", "m"), KINDS, ids=[f"{n}:{m}" for n, m in KINDS])


@pytest.mark.parametrize(
    ("n", "m", "asked", "expected"),
    [
        (2, 4, 4, 2),
        (1, 4, 4, 1),
        (1, 2, 4, 2),
        (3, 4, 4, 3),
        (4, 4, 4, 0),  # no connection is missing
        (2, 8, 4, 0),
        (2, 8, 8, 2),
        (2, 4, 8, 4),
    ],
)
def test_what_each_output_has_of_every_m_is_found(n, m, asked, expected):
    assert of_every(asked, drawn((33, 64), n, m)) == expected


def test_a_single_connection_in_another_group_is_none():
    mask = drawn((64, 40), 2).mask()
    for row in 0, 37, 63:
        here, there = mask[row, :4].nonzero()[0], 4 + (~mask[row, 4:8]).nonzero()[0]
        moved = mask.clone()
        moved[row, here], moved[row, there] = False, True  # as many in the row as before
        assert of_every(4, sl.from_mask(moved)) == 0
        assert of_every(8, sl.from_mask(moved)) == 4
    assert of_every(4, sl.from_mask(mask)) == 2


@pytest.mark.parametrize(
    "connectivity",
    [
        sl.random((60, 40), sparsity=0.5, generator=torch.Generator().manual_seed(0)),
        sl.constant_fan_in((60, 40), 0.75, generator=torch.Generator().manual_seed(0)),
        sl.from_mask(torch.ones(6, 2, dtype=torch.bool)),  # half of four, but there are no four
        sl.Connectivity((16, 4), torch.zeros(17, dtype=torch.int32), torch.zeros(0).int()),
    ],
)
def test_others_have_none(connectivity):
    assert of_every(4, connectivity) == 0


def test_connections_are_compared_in_parts(monkeypatch):
    monkeypatch.setattr(structure, "_AT_ONCE", 50)
    mask = drawn((120, 40), 1).mask()
    assert of_every(4, sl.from_mask(mask)) == 1
    mask[101, :8] = torch.tensor([1, 0, 1, 0, 0, 0, 0, 0]).bool()
    assert of_every(4, sl.from_mask(mask)) == 0


@native_only
@pytest.mark.parametrize("batch", [1, 9])
@kinds
def test_rows_of_every_length(n, m, batch):
    for inputs in range(m, 100, m):
        check(f"n_of_{m}", *given(drawn((10, inputs), n, m), batch))


@native_only
def test_larger_batches_take_rows_in_spans():
    check("n_of_4", *given(drawn((70, 4096), 2), 9))


@native_only
@pytest.mark.parametrize(("m", "served"), [(4, "1:4 or 2:4"), (8, "2:8 or 4:8")])
def test_a_layer_without_says_so(m, served):
    for connectivity in sl.random((20, 32), sparsity=0.9), drawn((20, 32), 3, 4):
        layer = sl.SparseLinear(32, 20, connectivity=connectivity, backend=f"n_of_{m}")
        with pytest.raises(ValueError, match=rf"n_of_{m} .* that are {served} .*\(20, 32\) is not"):
            layer(torch.ones(1, 32))


@native_only
@kinds
def test_chosen_for_small_batches_where_it_is_estimated_to_be_faster(monkeypatch, n, m):
    name = f"n_of_{m}"
    made = costs(lanes=2e-6, bitmaps=3e-6, n_of_4=1e-6, n_of_8=1e-6)
    monkeypatch.setattr(calibration, "costs", lambda dtype: made)
    layer = sl.SparseLinear(64, 256, connectivity=drawn((256, 64), n, m))
    for batch in 1, n_of_m.MOST:
        plan = layer.plan(batch)
        assert plan.forward.ways == (name,)
        assert plan.backward.ways == (name, name)
        assert f"{name}: the least estimate by costs made up" in str(plan)
        x = torch.randn(batch, 64, requires_grad=True)
        layer(x).sum().backward()
        torch.testing.assert_close(x.grad, layer.weight.to_dense().sum(0).expand(batch, 64))
    assert layer.plan(n_of_m.MOST + 1).forward.way == "lanes"


@native_only
def test_never_chosen_for_others_nor_where_it_is_slower(monkeypatch):
    made = costs(lanes=2e-6, bitmaps=3e-6, n_of_4=1e-6, n_of_8=1e-6)
    monkeypatch.setattr(calibration, "costs", lambda dtype: made)
    at_random = sl.random((256, 64), sparsity=0.5)
    for product in PRODUCTS:
        for other in drawn((256, 64), 3, 4), drawn((256, 64), 1, 8), at_random:
            assert set(choose(product, 1, other, torch.float32).ways) == {"lanes"}
    assert choose("y", 1, drawn((256, 64), 2), torch.float64).way == "lanes"
    made = costs(lanes=1e-6, bitmaps=3e-6, n_of_4=2e-6, n_of_8=2e-6)
    assert choose("y", 1, drawn((256, 64), 2), torch.float32).way == "lanes"


@native_only
def test_connections_that_change_are_computed_as_they_are():
    layer = sl.SparseLinear(64, 256, connectivity=drawn((256, 64), 2), backend="n_of_4")
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewirer = sl.RigL(layer, optimizer, update_every=1, stop_after=10, structure="2:4")
    before = layer.connectivity
    for _ in range(2):
        optimizer.zero_grad()
        layer(torch.randn(8, 64)).square().mean().backward()
        optimizer.step()
        rewirer.step()
    assert not layer.connectivity.equals(before)
    x = torch.randn(4, 64)
    expected = torch.nn.functional.linear(x, layer.weight.to_dense(), layer.bias)
    torch.testing.assert_close(layer(x), expected)


@native_only
@pytest.mark.slow
@pytest.mark.parametrize("name", library.INSTRUCTION_SETS)
def test_every_instruction_set(name):
    instruction_sets.run(__file__, name)

"""Tiles of the weight by AMX, against the dense product in float64."""

import pytest
import torch

import sparselayers as sl
from sparselayers.backends import BACKENDS
from sparselayers.backends.native import amx, library
from sparselayers.backends.native.choice import choose
from tests import fresh
from tests.sparselayers.ways import (
    anywhere,
    blocks,
    check,
    check_what_is_not_finite,
    given,
    products,
)
from tests.workflows.test_threads import at_once

needs_amx = pytest.mark.skipif(
    BACKENDS["native"].unavailable() is not None or not amx.usable(),
    reason="no AMX here, or no kernels for it",
)
HALF = torch.bfloat16
# A whole tile, parts of tiles and of words, more than is laid out at a time (y: 512 inputs; dx: 256
# outputs of 512 inputs; of rows that are alike 4096), and a few.
SHAPES = (16, 32), (9, 70), (33, 65), (130, 200), (300, 1100), (520, 129), (40, 2100), (1, 7)


@pytest.fixture
def alone(monkeypatch):
    """Nothing is left to the lanes."""
    monkeypatch.setattr(amx, "_LANES", None)


def squares(shape, side, density=0.2):
    """Connections in square blocks, some of whose tiles are empty."""
    count = -(-shape[0] // side), -(-shape[1] // side)
    drawn = torch.rand(count, generator=torch.Generator().manual_seed(2)) < density
    drawn[-1, 0] = True
    mask = drawn.repeat_interleave(side, 0).repeat_interleave(side, 1)
    return sl.from_mask(mask[: shape[0], : shape[1]])


@needs_amx
@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("batch", [0, 1, 5, 16, 17, 40, 70, 130])
def test_matches_the_dense_product(batch):
    for shape in SHAPES:
        for density in (0.02, 0.5):
            check("amx", *given(anywhere(shape, density), batch, HALF))


@needs_amx
@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("side", [16, 32])
@pytest.mark.parametrize("batch", [1, 33, 64, 96])
def test_tiles_without_connections_are_left_out(batch, side):
    for shape in ((64, 64), (90, 200), (320, 1056), (700, 48)):
        check("amx", *given(squares(shape, side), batch, HALF))
    check("amx", *given(blocks((48, 65), 16), batch, HALF))


@needs_amx
@pytest.mark.usefixtures("alone")
def test_batches_that_do_not_stay_in_the_cache_are_cut():
    check("amx", *given(anywhere((64, 9000), 0.1), 200, HALF))
    check("amx", *given(anywhere((9000, 64), 0.1), 200, HALF))
    for shape in ((64, 9000), (9008, 64)):
        check("amx", *given(squares(shape, 16), 200, HALF))


@needs_amx
@pytest.mark.parametrize("batch", [1, 6, 40])
def test_strides(batch):
    connectivity, values, bias, x, dy = given(anywhere((33, 65)), batch, HALF)
    outputs, inputs = connectivity.shape
    check("amx", connectivity, values, bias, x.t().contiguous().t(), dy.t().contiguous().t())
    padded = torch.full((batch, inputs + 30), torch.nan, dtype=HALF)
    padded[:, 10 : 10 + inputs] = x
    check("amx", connectivity, values, bias, padded[:, 10 : 10 + inputs], dy)
    same = dy[:, :1].expand(batch, outputs)
    check("amx", connectivity, values, bias, x[:1].expand(batch, inputs), same)


@needs_amx
@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("batch", [3, 40])
def test_what_is_not_finite_reaches_only_what_is_connected(batch, number):
    check_what_is_not_finite("amx", number, *given(anywhere((33, 65)), batch, HALF))


@needs_amx
@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("density", [0.1, 0.9])
def test_nothing_behind_the_numbers_is_touched(density):
    way, batch = BACKENDS["amx"], 9
    connectivity, values, bias, x, dy = given(anywhere((33, 65), density), batch, HALF)
    inputs = connectivity.shape[1]
    room = torch.full((values.numel() + 64,), torch.nan, dtype=HALF)
    room[: values.numel()] = values
    wide = torch.full((batch, inputs + 44), torch.nan, dtype=HALF)
    wide[:, :inputs] = x
    exact = room[: values.numel()]
    y = way.forward(wide[:, :inputs], exact, bias, connectivity)
    torch.testing.assert_close(y, way.forward(x, values, bias, connectivity), rtol=0, atol=0)
    assert way.grad_input(dy, exact, connectivity).isfinite().all()
    assert way.grad_values(dy, wide[:, :inputs], connectivity).isfinite().all()


@needs_amx
@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("of", [anywhere((512, 1100)), squares((512, 1100), 16)])
def test_the_same_bits_again_and_by_any_number_of_threads(threads, of):
    problem, found = given(of, 150, HALF), {}
    for number in (1, 2):
        threads(number)
        found[number], again = (products("amx", *problem) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(found[number], again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*found.values(), strict=True))


@needs_amx
@pytest.mark.usefixtures("alone")
def test_several_threads_at_once():
    """Each has the units for itself, from the first use on, and the bits are made once."""
    problem = given(anywhere((300, 500)), 40, HALF)
    expected = products("amx", *problem)
    again = given(anywhere((300, 500)), 40, HALF)  # of which nothing is known yet
    for found in at_once([lambda: products("amx", *again)] * 4):
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_places_are_those_of_tiles_with_a_connection():
    assert amx.places(squares((64, 64), 64, density=1.0)) == 64 * 64
    mask = torch.zeros(40, 70, dtype=torch.bool)
    mask[0, 0] = mask[15, 31] = mask[16, 32] = mask[39, 69] = True
    assert amx.places(sl.from_mask(mask)) == 3 * 16 * 32
    assert amx.places(sl.from_mask(torch.ones(40, 70, dtype=torch.bool))) == 40 * 70


def test_empty_tiles_cost_nothing_in_an_estimate(monkeypatch):
    """Squares of which a tenth is there cost AMX as little as a layer of a tenth of the places."""
    from tests.sparselayers.test_choice import costs

    made_up = costs(lanes=(0.0, 1.0), amx=(0.2, 0.0))
    monkeypatch.setattr("sparselayers.backends.native.calibration.costs", lambda dtype: made_up)
    monkeypatch.setattr(amx, "usable", lambda: True)
    square, scattered = squares((320, 640), 32, 0.1), sl.random((320, 640), 0.9)
    choice = choose("y", 1, square, HALF)
    assert choice.seconds[("amx",)] == pytest.approx(0.2 * amx.places(square))
    assert choice.way == "amx"
    choice = choose("y", 5, scattered, HALF)
    assert choice.seconds[("amx",)] == pytest.approx(5 * 0.2 * 320 * 640)
    assert choice.way == "lanes"
    # Of a few rows scattered connections leave no tile out, and bitmaps have less to do.
    assert ("amx",) not in choose("y", 4, scattered, HALF).seconds
    assert ("amx",) not in choose("y", 1, sl.random((32, 64), 0.5), torch.float32).seconds


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(amx, "usable", lambda: False)
    monkeypatch.setattr(library, "unavailable", lambda: None)
    monkeypatch.setattr(library, "isa", lambda: ("avx2", "asked for"))
    expected = (
        r"backend 'amx' is not available: the kernels run for avx2, and AMX comes with avx512"
    )
    with pytest.raises(ValueError, match=expected):
        sl.SparseLinear(8, 8, sparsity=0.5, backend="amx", dtype=HALF)(torch.ones(1, 8, dtype=HALF))
    monkeypatch.setattr(library, "isa", lambda: ("avx512", "the widest"))
    assert "no AMX" in BACKENDS["amx"].unavailable()


@needs_amx
def test_who_asks_nobody_gets_it_from_the_system_all_the_same():
    """In a fresh process: the instructions of one that has not asked Linux end it."""
    script = (
        "import torch, sparselayers as sl\n"
        "from sparselayers.backends import BACKENDS\n"
        "c = sl.random((32, 32), 0.5)\n"
        "x = torch.ones(2, 32, dtype=torch.bfloat16)\n"
        "values = torch.ones(c.nnz, dtype=torch.bfloat16)\n"
        "print(BACKENDS['amx'].forward(x, values, None, c).sum().item() == 2 * c.nnz)\n"
    )
    assert fresh.one(script).split() == ["True"]


@needs_amx
def test_a_layer_of_another_type_is_refused():
    with pytest.raises(ValueError, match=r"backend 'amx' does not serve torch.float32 on cpu"):
        sl.SparseLinear(8, 8, sparsity=0.5, backend="amx")(torch.ones(1, 8))

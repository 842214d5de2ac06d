"""Every way to compute on a CPU, against the reference in float64."""

from functools import partial
from typing import NamedTuple

import pytest
import torch

import sparselayers as sl
from sparselayers.backends import BACKENDS
from sparselayers.backends.native import calibration, few_bitmaps, library
from sparselayers.structures.row_blocks import HEIGHTS
from tests import instruction_sets
from tests.sparselayers.ways import (
    ALL,
    TOLERANCE,
    anywhere,
    blocks,
    check,
    check_what_is_not_finite,
    given,
    n_of_m,
    products,
)

pytestmark = pytest.mark.skipif(
    BACKENDS["native"].unavailable() is not None, reason="the C++ kernels were not built"
)


class Kind(NamedTuple):
    """A way, the connections that it serves, of a shape, and shapes at the edges of its loops."""

    way: str
    of: partial
    odd: tuple[int, int]
    shapes: tuple[tuple[int, int], ...]


# AMX, which serves bfloat16 alone: test_amx.py.
ANY = [way for way in calibration.WAYS if not way.startswith(("row_blocks", "n_of_", "amx"))]
KINDS = {
    **{way: Kind(way, partial(anywhere), (33, 65), ((9, 70), (67, 64), (300, 129))) for way in ANY},
    **{
        f"row blocks of {height}": Kind(
            "row_blocks",
            partial(blocks, height=height),
            (48, 65),
            ((64, 70), (9 * 16, 129), (32, 1), (16, 1200)),
        )
        for height in HEIGHTS
    },
    **{
        f"{n}:{m}": Kind(
            f"n_of_{m}",
            partial(n_of_m, n=n, m=m),
            (35, 56),
            ((9, 8), (67, 64), (40, 104), (1, 16), (8, 1208)),
        )
        for n, m in ((1, 4), (2, 4), (2, 8), (4, 8))
    },
}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "bfloat16"])


@dtypes
@pytest.mark.parametrize("batch", [0, 1, 2, 3, 4, 5, 7, 17, 40, 130])
@kinds
def test_matches_the_reference(kind, batch, dtype):
    for shape in kind.shapes:
        check(kind.way, *given(kind.of(shape), batch, dtype))


@pytest.mark.parametrize("way", ["bitmaps", "panels"])
@pytest.mark.parametrize("density", [0.02, 0.95])
def test_few_and_many_connections(way, density):
    check(way, *given(anywhere((130, 200), density), 6))


@pytest.mark.parametrize("batch", [200, 600, 1100])
def test_batches_that_are_cut_into_blocks(batch):
    check("bitmaps", *given(anywhere((290, 150), 0.4), batch))


def test_panels_are_cut(monkeypatch):
    from sparselayers.backends.native import panels

    monkeypatch.setattr(panels, "_LEAST_BYTES", 1)
    monkeypatch.setattr(panels, "_MOST_BYTES", 1)
    monkeypatch.setattr(panels, "_LEAST", 64)
    check("panels", *given(anywhere((300, 333)), 7))


@pytest.mark.parametrize("batch", [1, 6, 9])
@kinds
def test_strides(kind, batch):
    connectivity, values, bias, x, dy = given(kind.of(kind.odd), batch)
    outputs, inputs = connectivity.shape
    check(kind.way, connectivity, values, bias, x.t().contiguous().t(), dy.t().contiguous().t())
    padded = torch.randn(batch, inputs + 30)
    padded[:, 10 : 10 + inputs] = x
    apart = dy.repeat(2, 1)[::2].contiguous()
    check(kind.way, connectivity, values, bias, padded[:, 10 : 10 + inputs], apart)
    same = dy[:, :1].expand(batch, outputs)
    check(kind.way, connectivity, values, bias, x[:1].expand(batch, inputs), same)


@pytest.mark.parametrize(
    "needs", [(True, False, False), (False, True, False), (False, False, True)]
)
@pytest.mark.parametrize("batch", [2, 9, 140])
@kinds
def test_single_gradients_are_those_of_all(kind, batch, needs):
    way = BACKENDS[kind.way]
    for dtype in TOLERANCE:
        connectivity, values, _, x, dy = given(kind.of(kind.odd), batch, dtype)
        x = way.arrange(x, connectivity)
        every = way.backward(dy, x, values, connectivity, needs=ALL)
        single = way.backward(dy, x if needs[1] else None, values, connectivity, needs=needs)
        for one, of_all, needed in zip(single, every, needs, strict=True):
            assert (one is not None) == needed
            if one is not None:
                torch.testing.assert_close(one, of_all)


@dtypes
@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("batch", [3, 11])
@kinds
def test_what_is_not_finite_reaches_only_what_is_connected(kind, batch, number, dtype):
    check_what_is_not_finite(kind.way, number, *given(kind.of(kind.odd), batch, dtype))


@pytest.mark.parametrize("way", ANY)
def test_the_same_bits_again(way):
    problem = given(anywhere((300, 500)), 150)
    first, second = (products(way, *problem) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# `alike`: which of y and the gradients of input, values and bias are the same by any number of
# threads. Those for which a thread adds up by itself: of small batches, parts of dx are added up.
@pytest.mark.parametrize(
    ("kind", "batch", "alike"),
    [
        *(("row blocks of 8", batch, ()) for batch in (1, 4)),
        *(("row blocks of 8", batch, (0, 1, 2)) for batch in (64, 150)),
        *(("2:4", batch, (0, 2, 3)) for batch in (1, 16)),
    ],
)
def test_the_same_bits_again_and_by_any_number_of_threads(threads, kind, batch, alike):
    way, of, *_ = KINDS[kind]
    problem, found = given(of((512, 1100)), batch), {}
    for number in (1, 2):
        threads(number)
        found[number], again = (products(way, *problem) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(found[number], again, strict=True))
    assert all(torch.equal(found[1][product], found[2][product]) for product in alike)


def test_under_autocast_types_stay():
    problem = given(anywhere((64, 64)), 8)
    plain = products("panels", *problem)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = products("panels", *problem)
    assert all(torch.equal(a, b) for a, b in zip(plain, cast, strict=True))


def test_a_layer_too_wide_for_bitmaps_says_so():
    connectivity = sl.random((2, 1 << 16), sparsity=0.5)
    x, values = torch.ones(1, 1 << 16), torch.ones(connectivity.nnz)
    with pytest.raises(ValueError, match=r"fewer than 65536 inputs, got 65536: choose .*'lanes'"):
        BACKENDS["bitmaps"].forward(x, values, None, connectivity)
    assert BACKENDS["native"].forward(x, values, None, connectivity).shape == (1, 2)


@pytest.mark.parametrize("batch", [1, 4, 9])
@pytest.mark.parametrize(
    "kind",
    [
        *KINDS.values(),
        *(KINDS["bitmaps"]._replace(of=partial(anywhere, density=d)) for d in (0.1, 0.9)),
    ],
    ids=[*KINDS, "few by bitmaps", "many by bitmaps"],
)
def test_nothing_behind_the_numbers_is_touched(kind, batch):
    """Loops read and write whole registers, but not beyond the last value, or that of a row."""
    way = BACKENDS[kind.way]
    connectivity, values, bias, x, dy = given(kind.of(kind.odd), batch)
    inputs = connectivity.shape[1]
    room = torch.full((values.numel() + 64,), torch.nan)
    room[: values.numel()] = values
    wide = torch.full((batch, inputs + 44), torch.nan)
    wide[:, :inputs] = x
    y = way.forward(wide[:, :inputs], room[: values.numel()], bias, connectivity)
    torch.testing.assert_close(y, BACKENDS["lanes"].forward(x, values, bias, connectivity))
    assert way.grad_input(dy, room[: values.numel()], connectivity).isfinite().all()
    assert way.grad_values(dy, wide[:, :inputs], connectivity).isfinite().all()


def test_kernels_of_a_few_rows_by_bitmaps_take_as_many_as_python_gives_them():
    connectivity, values, _, x, _ = given(anywhere((20, 30)), few_bitmaps.MOST + 1)
    for batch in (0, few_bitmaps.MOST + 1):
        short = few_bitmaps.FewBitmaps(batch, connectivity, torch.float32)
        with pytest.raises(ValueError, match=f"a batch of 1 to {few_bitmaps.MOST}, not {batch}"):
            short.forward(x[:batch], values, None, connectivity)


@pytest.mark.slow
@pytest.mark.parametrize("name", library.INSTRUCTION_SETS)
def test_every_instruction_set(name):
    instruction_sets.run(__file__, name)

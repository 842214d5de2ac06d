"""Every way to compute on a CPU, against the reference in float64."""

import pytest
import torch

import sparselayers as sl
from sparselayers.backends import BACKENDS
from sparselayers.backends.native import calibration, library
from tests import instruction_sets

# Those that serve any connections: row blocks and N of every M inputs have tests of their own.
WAYS = [way for way in calibration.WAYS if not way.startswith(("row_blocks", "n_of_"))]
pytestmark = pytest.mark.skipif(
    BACKENDS["native"].unavailable() is not None, reason="the C++ kernels were not built"
)
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
ALL = (True, True, True)


def problem(shape, density, batch, dtype):
    """Connections with an empty row, a full row and an empty column; values, bias, x and dy."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(shape, generator=generator) < density
    mask[0], mask[:, 0], mask[-1] = False, False, True
    connectivity = sl.from_mask(mask)
    drawn = [
        torch.randn(*size, generator=generator).to(dtype)
        for size in ((connectivity.nnz,), (shape[0],), (batch, shape[1]), (batch, shape[0]))
    ]
    return connectivity, *drawn


def products(backend, connectivity, values, bias, x, dy):
    """Return y and the three gradients."""
    arranged = backend.arrange(x, connectivity)
    y = backend.forward(arranged, values, bias, connectivity)
    return y, *backend.backward(dy, arranged, values, connectivity, needs=ALL)


def check(way, connectivity, values, bias, x, dy):
    """Compare all products with the reference's, relative to the largest of each."""
    exact = [tensor.double() for tensor in (values, bias, x, dy)]
    expected = products(BACKENDS["reference"], connectivity, *exact)
    found = products(BACKENDS[way], connectivity, values, bias, x, dy)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == values.dtype
        assert ours.shape == theirs.shape
        scale = theirs.abs().max().clamp(min=1e-30) if theirs.numel() else 1
        torch.testing.assert_close(
            ours.double() / scale, theirs / scale, rtol=0, atol=TOLERANCE[values.dtype]
        )


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "bfloat16"])
@pytest.mark.parametrize("batch", [0, 1, 2, 3, 4, 5, 17, 130])
@pytest.mark.parametrize("way", WAYS)
def test_matches_the_reference(way, batch, dtype):
    for shape in (9, 70), (67, 64), (300, 129):
        check(way, *problem(shape, 0.5, batch, dtype))


@pytest.mark.parametrize("way", ["bitmaps", "panels"])
@pytest.mark.parametrize("density", [0.02, 0.95])
def test_few_and_many_connections(way, density):
    check(way, *problem((130, 200), density, 6, torch.float32))


@pytest.mark.parametrize("batch", [200, 600, 1100])
def test_batches_that_are_cut_into_blocks(batch):
    check("bitmaps", *problem((290, 150), 0.4, batch, torch.float32))


def test_panels_are_cut(monkeypatch):
    from sparselayers.backends.native import panels

    monkeypatch.setattr(panels, "_LEAST_BYTES", 1)
    monkeypatch.setattr(panels, "_MOST_BYTES", 1)
    monkeypatch.setattr(panels, "_LEAST", 64)
    check("panels", *problem((300, 333), 0.5, 7, torch.float32))


@pytest.mark.parametrize("way", WAYS)
def test_strides(way):
    connectivity, values, bias, x, dy = problem((40, 70), 0.5, 6, torch.float32)
    check(way, connectivity, values, bias, x.t().contiguous().t(), dy.t().contiguous().t())
    padded = torch.randn(6, 100)
    padded[:, 10:80] = x
    check(way, connectivity, values, bias, padded[:, 10:80], dy.repeat(2, 1)[::2].contiguous())
    check(way, connectivity, values, bias, x[:1].expand(6, 70), dy[:, :1].expand(6, 40))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "bfloat16"])
@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_finite_reaches_only_what_is_connected(way, number, dtype):
    connectivity, values, bias, x, dy = problem((40, 70), 0.3, 3, dtype)
    x[1, 5] = dy[2, 7] = number
    mask = connectivity.mask()
    y = BACKENDS[way].forward(x, values, bias, connectivity)
    dx = BACKENDS[way].grad_input(dy, values, connectivity)
    for found, sample, reached in ((y, 1, mask[:, 5]), (dx, 2, mask[7])):
        assert torch.equal(~found[sample].isfinite(), reached)
        others = [row for row in range(3) if row != sample]
        assert found[others].isfinite().all()


@pytest.mark.parametrize("way", WAYS)
def test_the_same_bits_again(way):
    given = problem((300, 500), 0.5, 150, torch.float32)
    first, second = (products(BACKENDS[way], *given) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_under_autocast_types_stay():
    given = problem((64, 64), 0.5, 8, torch.float32)
    plain = products(BACKENDS["panels"], *given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = products(BACKENDS["panels"], *given)
    assert all(torch.equal(a, b) for a, b in zip(plain, cast, strict=True))


def test_a_layer_too_wide_for_bitmaps_says_so():
    connectivity = sl.random((2, 1 << 16), sparsity=0.5)
    x, values = torch.ones(1, 1 << 16), torch.ones(connectivity.nnz)
    with pytest.raises(ValueError, match=r"fewer than 65536 inputs, got 65536: choose .*'lanes'"):
        BACKENDS["bitmaps"].forward(x, values, None, connectivity)
    assert BACKENDS["native"].forward(x, values, None, connectivity).shape == (1, 2)


def test_nothing_behind_the_values_is_touched():
    """Loops read and write whole registers, but not beyond the last value."""
    for density in 0.1, 0.5, 0.9:
        connectivity, values, bias, x, dy = problem((33, 65), density, 4, torch.float32)
        room = torch.full((values.numel() + 64,), torch.nan)
        room[: values.numel()] = values
        y = BACKENDS["bitmaps"].forward(x, room[: values.numel()], bias, connectivity)
        torch.testing.assert_close(y, BACKENDS["lanes"].forward(x, values, bias, connectivity))
        found = BACKENDS["bitmaps"].grad_values(dy, x, connectivity)
        assert found.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", library.INSTRUCTION_SETS)
def test_every_instruction_set(name):
    instruction_sets.run(__file__, name)

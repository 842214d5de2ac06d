"""Inputs that are mostly zeros: what is visited is right, and only taken where it pays."""

import pytest
import torch

import sparselayers as sl
from sparselayers.backends import BACKENDS
from sparselayers.backends.native import nonzero

pytestmark = pytest.mark.skipif(
    BACKENDS["native"].unavailable() is not None, reason="the C++ kernels were not built"
)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}
SHAPES = {(40, 70): 0.7, (1, 30): 0.7, (30, 1): 0.7, (5, (1 << 16) + 70): 0.98}


def given(connectivity, batch, zeros, dtype=torch.float32):
    """Values, bias and an input of which each sample has so many zeros."""
    generator = torch.Generator().manual_seed(1)
    outputs, inputs = connectivity.shape
    sizes = (connectivity.nnz,), (outputs,), (batch, inputs)
    values, bias, x = (torch.randn(*size, generator=generator).to(dtype) for size in sizes)
    for sample in x:
        sample[torch.randperm(inputs, generator=generator)[: round(zeros * inputs)]] = 0
    return values, bias, x


def check(x, values, bias, connectivity):
    exact = None if bias is None else bias.double()
    expected = BACKENDS["reference"].forward(x.double(), values.double(), exact, connectivity)
    found = nonzero.forward(x, values, bias, connectivity)
    assert found.dtype == values.dtype
    assert found.is_contiguous()
    scale = expected.abs().max().clamp(min=1)
    torch.testing.assert_close(
        found.double() / scale, expected / scale, rtol=0, atol=TOLERANCE[values.dtype]
    )


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("batch", [1, 3])
def test_matches_the_reference(batch, dtype):
    for shape, sparsity in SHAPES.items():
        connectivity = sl.random(shape, sparsity=sparsity)
        for zeros in (0.0, 0.5, 0.9, 1.0):
            values, bias, x = given(connectivity, batch, zeros, dtype)
            check(x, values, bias, connectivity)
            check(x.t().contiguous().t(), values, None, connectivity)


def test_rows_and_columns_without_connections():
    mask = torch.zeros(9, 11, dtype=torch.bool)
    mask[3, 2] = mask[3, 7] = mask[8, 7] = True
    connectivity = sl.from_mask(mask)
    values, bias, x = given(connectivity, 2, 0.3)
    check(x, values, bias, connectivity)


def test_nan_is_no_zero_and_a_negative_zero_is_one():
    connectivity = sl.random((40, 70), sparsity=0.7)
    values, bias, x = given(connectivity, 1, 1.0)
    x[0, 3], x[0, 5] = torch.nan, -0.0
    found = nonzero.forward(x, values, bias, connectivity)
    reached = connectivity.mask()[:, 3]
    assert torch.equal(found[0].isnan(), reached)
    assert torch.equal(found[0, ~reached], bias[~reached])


def test_the_same_bits_again_and_threads_agree():
    connectivity = sl.random((1000, 1000), sparsity=0.9)
    values, bias, x = given(connectivity, 3, 0.5)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            check(x, values, bias, connectivity)
            first, again = (nonzero.forward(x, values, bias, connectivity) for _ in range(2))
            assert torch.equal(first, again)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("batch", "zeros", "expected"),
    [(1, 0.0, False), (1, 0.7, False), (1, 0.9, True), (4, 0.9, False), (4, 0.98, True)],
)
def test_taken_by_what_all_samples_leave_to_visit(batch, zeros, expected):
    connectivity = sl.random((800, 800), sparsity=0.9)
    _, _, x = given(connectivity, batch, zeros)
    assert nonzero.gains(x, connectivity) == expected


def test_never_taken_of_small_layers_large_batches_and_other_types():
    connectivity = sl.random((800, 800), sparsity=0.9)
    zeros = torch.zeros(9, 800)
    assert nonzero.gains(zeros[:8], connectivity)
    assert not nonzero.gains(zeros, connectivity)
    assert not nonzero.gains(zeros[:0], connectivity)
    assert not nonzero.gains(zeros[:1].half(), connectivity)
    assert not nonzero.gains(zeros[:1, :80], sl.random((800, 80), sparsity=0.9))


def test_columns_of_many_connections_count_as_many():
    mask = torch.rand(800, 800) < 0.05
    mask[:, :60] = True
    connectivity = sl.from_mask(mask)
    x = torch.zeros(1, 800)
    x[0, :60] = 1
    assert not nonzero.gains(x, connectivity)
    assert nonzero.gains(x.flip(1), connectivity)


def test_a_layer_takes_it_and_trains_the_same(monkeypatch):
    calls = []
    visit = nonzero.forward
    monkeypatch.setattr(nonzero, "forward", lambda *given: calls.append(1) or visit(*given))
    connectivity = sl.random((800, 800), sparsity=0.9)
    layer = sl.SparseLinear(800, 800, connectivity=connectivity)
    _, _, x = given(connectivity, 1, 0.95)
    expected = torch.nn.functional.linear(x, layer.weight.to_dense(), layer.bias)
    torch.testing.assert_close(layer(x.requires_grad_()), expected)
    assert calls
    layer(x).square().sum().backward()
    dy = 2 * expected.detach()
    torch.testing.assert_close(x.grad, dy @ layer.weight.to_dense().detach())
    weights = (dy.t() @ x.detach())[connectivity.mask()]
    torch.testing.assert_close(layer.weights.grad, weights)
    calls.clear()
    other = sl.SparseLinear(800, 800, connectivity=connectivity, backend="lanes")
    other(x)
    assert not calls

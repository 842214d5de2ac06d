"""Tiles with their zeros on tensor cores against the dense products of the same weights."""

from functools import partial

import pytest
import torch

import sparselayers as sl
from sparselayers.backends import BACKENDS
from tests.gpu import oracle
from tests.gpu.oracle import mask_of

NAME = "triton_bitmaps"
check = partial(oracle.check, backend=NAME)


@pytest.mark.parametrize("by_sample", [True, False])
@pytest.mark.parametrize(
    ("shape", "batch", "dtype"),
    [
        ((70, 97), 65, torch.float32),  # remainders of every tile
        ((64, 64), 64, torch.bfloat16),
        ((11, 140), 17, torch.float16),
        ((130, 31), 3, torch.bfloat16),
    ],
)
def test_matches_the_dense_product(shape, batch, dtype, by_sample, device):
    check(mask_of(shape, 0.3), batch, device, dtype, by_sample=by_sample)


@pytest.mark.parametrize("batch", [0, 1, 20])
@pytest.mark.parametrize("shape", [(1, 40), (40, 1)])
def test_one_row_or_column(shape, batch, device):
    check(mask_of(shape, 0.5), batch, device)


@pytest.mark.parametrize("mask", [torch.zeros, torch.ones])
def test_without_connections_and_with_all(mask, device):
    check(mask(35, 70, dtype=torch.bool), 20, device)


def test_without_bias_and_with_long_indices(device):
    check(mask_of((33, 40), 0.4), 20, device, bias=False, index=torch.int64)


@pytest.mark.parametrize("number", range(1, 6))
def test_every_tile(number, device, monkeypatch):
    """Whichever the tuner may take."""
    launch = pytest.importorskip("sparselayers.backends.triton_kernels.launch_bitmaps")
    every = launch.candidates
    monkeypatch.setattr(launch, "candidates", lambda *of: every(*of)[number:])
    check(mask_of((66, 70), 0.1), 66, device, torch.bfloat16)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy's, in the interpreter
def test_what_is_not_finite_reaches_what_is_connected(device):
    """Zeros of the layout are no weights: they pass nothing on."""
    mask = mask_of((40, 70), 0.2)
    connectivity = sl.from_mask(mask)
    values, x, dy = torch.randn(connectivity.nnz), torch.randn(20, 70), torch.randn(20, 40)
    x[3, 5], x[4, 6], dy[7, 8] = torch.inf, torch.nan, -torch.inf
    given = dy, x, values, connectivity
    reference, backend = BACKENDS["reference"], BACKENDS[NAME]
    expected = [reference.forward(x, values, None, connectivity)]
    expected += reference.backward(*given, needs=(True, True, True))
    there = connectivity.to(device)
    dy, x, values = dy.to(device), x.to(device), values.to(device)
    found = [backend.forward(x, values, None, there)]
    found += backend.backward(dy, x, values, there, needs=(True, True, True))
    assert found[0].isfinite().any(1)[3]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, equal_nan=True, rtol=1e-4, atol=1e-4)


def test_a_layer(device):
    connectivity = sl.from_mask(mask_of((40, 70), 0.2)).to(device)
    layer = sl.SparseLinear(70, 40, connectivity=connectivity, device=device, backend=NAME)
    x = torch.randn(70, 70, device=device, requires_grad=True)
    dense = torch.nn.functional.linear(x, layer.weight.to_dense(), layer.bias)
    leaves = [x, layer.weights, layer.bias]
    dy = torch.randn_like(dense)
    expected = dense.detach(), *torch.autograd.grad(dense, leaves, dy)
    y = layer(x)
    for ours, theirs in zip((y, *torch.autograd.grad(y, leaves, dy)), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_result_is_the_same_every_time(device):
    connectivity = sl.from_mask(mask_of((40, 70), 0.4)).to(device)
    values, x = torch.randn(connectivity.nnz, device=device), torch.randn(9, 70, device=device)
    first, second = (BACKENDS[NAME].forward(x, values, None, connectivity) for _ in range(2))
    assert torch.equal(first, second)


def test_a_plan_says_that_there_is_no_choice(device):
    plan = BACKENDS[NAME].plan(128, sl.from_mask(mask_of((40, 70), 0.4)), torch.bfloat16)
    assert plan.forward.way == "bitmaps"
    assert "the only way of this backend" in str(plan)


def test_layers_of_too_many_places_are_refused():
    launch = pytest.importorskip("sparselayers.backends.triton_kernels.launch_bitmaps")
    row_ptr = torch.ones((1 << 18) + 1, dtype=torch.int32)
    row_ptr[0] = 0
    widest = sl.Connectivity((1 << 18, 1 << 19), row_ptr, torch.zeros(1, dtype=torch.int32))
    with pytest.raises(ValueError, match=r"fewer than 2147483648 words .* 'triton_gather'"):
        launch.bitmap_of(widest)

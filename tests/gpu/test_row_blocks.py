"""Row blocks on tensor cores against the dense products."""

import pytest
import torch

import sparselayers as sl
from sparselayers.backends import BACKENDS
from sparselayers.structures.row_blocks import row_block
from tests.gpu.oracle import check, mask_of


def mask_of_blocks(shape, density, height, width=1):
    """A mask of blocks with empty groups and columns planted."""
    return (
        mask_of((shape[0] // height, shape[1] // width), density)
        .repeat_interleave(height, 0)
        .repeat_interleave(width, 1)
    )


@pytest.fixture
def used(monkeypatch):
    """The products that are computed as row blocks."""
    launch = pytest.importorskip("sparselayers.backends.triton_kernels.launch_row_blocks")
    products = []
    made = launch._made
    monkeypatch.setattr(
        launch, "_made", lambda key, *rest: products.append(key.product) or made(key, *rest)
    )
    return products


@pytest.mark.parametrize(
    ("height", "batch", "dtype"),
    [(4, 16, torch.float32), (8, 70, torch.bfloat16), (16, 33, torch.float32)],
)
def test_matches_the_dense_product(height, batch, dtype, device, used):
    check(mask_of_blocks((6 * height, 40), 0.3, height), batch, device, dtype)
    assert set(used) == {"multiply", "sample", "spread"}


def test_square_blocks_and_columns_for_more_than_one_program(device, used):
    check(mask_of_blocks((32, 96), 0.6, 16, 16), 33, device, torch.float16)
    assert used


@pytest.mark.parametrize("index", [torch.int32, torch.int64])
def test_without_bias(index, device, used):
    check(mask_of_blocks((32, 20), 0.4, 8), 17, device, bias=False, index=index)
    assert used


def test_sections_of_the_batch(device, used, monkeypatch):
    """What is added to dx is never there for all samples at once."""
    launch = pytest.importorskip("sparselayers.backends.triton_kernels.launch_row_blocks")
    monkeypatch.setattr(launch, "_MOST", 1)
    monkeypatch.setattr(launch, "_section", lambda batch, dtype, groups: 32)
    check(mask_of_blocks((32, 20), 0.4, 8), 70, device)
    assert used


@pytest.mark.parametrize(("batch", "dtype"), [(15, torch.float32), (16, torch.float64)])
def test_few_samples_and_other_types_have_the_plain_kernels(batch, dtype, device, used):
    check(mask_of_blocks((16, 20), 0.4, 8), batch, device, dtype)
    assert not used


def test_the_result_is_the_same_every_time(device, used):
    connectivity = sl.from_mask(mask_of_blocks((32, 31), 0.4, 8)).to(device)
    assert row_block(connectivity) == 8
    values, dy = torch.randn(connectivity.nnz, device=device), torch.randn(40, 32, device=device)
    first, second = (BACKENDS["triton"].grad_input(dy, values, connectivity) for _ in range(2))
    assert torch.equal(first, second)
    assert used

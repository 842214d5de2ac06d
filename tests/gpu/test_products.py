"""The Triton kernels against the dense products, in all classes of shapes."""

import pytest
import torch

import sparselayers as sl
from sparselayers.backends import BACKENDS
from sparselayers.backends.triton_kernels import partition, ways
from sparselayers.backends.triton_kernels.tiles import Tile
from tests.gpu.oracle import check, mask_of


@pytest.mark.parametrize("batch", [0, 1, 2, 3, 7, 8, 9, 17, 65, 130])
def test_matches_the_dense_product(batch, device):
    check(mask_of((11, 18), 0.3), batch, device)


@pytest.mark.parametrize("batch", [2, 9, 65])
def test_feature_by_feature(batch, device):
    """As the outputs of layers lie; what lies sample by sample is copied so where it is large."""
    check(mask_of((11, 18), 0.3), batch, device, by_sample=False)


@pytest.mark.parametrize("batch", [2, 33])
def test_what_is_large_is_copied(batch, device, monkeypatch):
    monkeypatch.setattr(ways, "_LITTLE", 0)
    mask = mask_of((11, 18), 0.3)
    check(mask, batch, device)
    x = torch.zeros(batch, 18, device=device)
    assert BACKENDS["triton"].arrange(x, sl.from_mask(mask).to(device)).t().is_contiguous()


@pytest.mark.parametrize("batch", [1, 5, 33])
@pytest.mark.parametrize("shape", [(1, 20), (20, 1)])
def test_one_row_or_column(shape, batch, device):
    check(mask_of(shape, 0.5), batch, device)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("batch", [1, 5, 33])
def test_every_type(dtype, batch, device):
    check(mask_of((9, 16), 0.4), batch, device, dtype)


@pytest.mark.parametrize("batch", [1, 12])
def test_without_bias_and_with_long_indices(batch, device):
    check(mask_of((9, 16), 0.4), batch, device, bias=False, index=torch.int64)


@pytest.mark.parametrize("tile", [Tile(4, 8, 32, 4), Tile(8, 4, 16, 4), Tile(1, 2, 64, 1)])
def test_tiles_of_several_rows(tile, device, monkeypatch):
    """Whichever tile the tuner may take for many samples."""
    launch = pytest.importorskip("sparselayers.backends.triton_kernels.launch_gather")
    monkeypatch.setattr(launch, "candidates", lambda batch, degree: (tile,))
    check(mask_of((13, 20), 0.4), 37, device)


def test_without_connections(device):
    check(torch.zeros(5, 6, dtype=torch.bool), 3, device)


def test_dense(device):
    check(torch.ones(5, 300, dtype=torch.bool), 3, device)


@pytest.mark.parametrize(("batch", "by_sample"), [(1, True), (4, False), (9, True)])
@pytest.mark.parametrize("index", [torch.int32, torch.int64])
def test_unequal_rows(batch, by_sample, index, device, monkeypatch):
    """One row and one column have nearly all connections: they are cut, and the others sorted."""
    monkeypatch.setattr(partition, "CUT", 12)
    monkeypatch.setattr(partition, "LONG", 1)
    mask = mask_of((12, 40), 0.03)
    mask[3], mask[11, ::2], mask[:, 4] = True, True, True
    bias = index == torch.int32
    dtype, lies = torch.float32 if bias else torch.bfloat16, {"by_sample": by_sample}
    check(mask, batch, device, dtype, index=index, bias=bias, **lies)


def test_the_result_is_the_same_every_time(device):
    connectivity = sl.from_mask(mask_of((9, 31), 0.4)).to(device)
    values, x = torch.randn(connectivity.nnz, device=device), torch.randn(9, 31, device=device)
    backend = BACKENDS["triton"]
    first, second = (backend.forward(x, values, None, connectivity) for _ in range(2))
    assert torch.equal(first, second)

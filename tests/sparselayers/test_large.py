"""Index arithmetic beyond 2³¹, in memory of which only the pages that are used exist."""

import mmap
import sys

import pytest
import torch

from sparselayers import SET, Connectivity, SparseLinear, topologies
from sparselayers.backends.native import Native, rows
from sparselayers.backends.native.told import Told
from sparselayers.topologies.keys import absent, from_keys, keys_of

FAR = 2**31 + 7  # an offset that int32 does not hold

_NO_RESERVE = 0x4000  # Linux's MAP_NORESERVE, which Python's mmap learned late

needs_pages = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's lazy pages")


def lazy(numel, dtype):
    """A tensor of zeros that takes no memory until it is written."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
    pages = mmap.mmap(-1, numel * dtype.itemsize, flags=flags)
    return torch.frombuffer(pages, dtype=dtype)


def unchecked(shape, row_ptr, col):
    """A Connectivity without the look at every connection."""
    made = object.__new__(Connectivity)
    made._fill(shape, row_ptr, col)
    return made


def in_place(connectivity):
    """Let the kernels read the connections where they are: a copy would write every page."""
    kind, ptr, col = rows.kind_of(connectivity), connectivity.row_ptr, connectivity.col
    kernel = kind.rows(
        *connectivity.shape, *rows.lengths(ptr), ptr.data_ptr(), col.data_ptr(), 0, 0
    )
    connectivity.derive("native rows", lambda: Told(kernel, (ptr, col)))


@needs_pages
@pytest.mark.parametrize("batch", [1, 16, 37])
def test_connections_beyond_2_31_are_found(batch):
    """Values and columns of two rows lie behind 2³¹ others, which belong to no row."""
    where = slice(FAR, FAR + 5)
    values, col = lazy(FAR + 5, torch.float32), lazy(FAR + 5, torch.int64)
    values[where] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    col[where] = torch.tensor([0, 3, 7, 1, 3])
    connectivity = unchecked((2, 8), torch.tensor([FAR, FAR + 3, FAR + 5]), col)
    in_place(connectivity)
    weight = torch.tensor([[1.0, 0, 0, 2, 0, 0, 0, 3], [0, 4, 0, 5, 0, 0, 0, 0]])
    x = torch.randn(batch, 8)
    y = Native().forward(x, values, None, connectivity)
    torch.testing.assert_close(y, x @ weight.t())


@needs_pages
def test_activations_beyond_2_31_are_found():
    """int32 columns times a pitch of 16 pass 2³¹, in elements and in bytes."""
    features, pitch = 2**28, 16
    x = lazy(features * pitch, torch.float32).as_strided((16, features), (1, pitch))
    columns = torch.tensor([3, 2**27 + 5, 2**28 - 1], dtype=torch.int32)
    for number, column in enumerate(columns.tolist()):
        x[:, column] = torch.arange(16.0) + number
    row_ptr = torch.tensor([0, 1, 3], dtype=torch.int32)
    connectivity = Connectivity((2, features), row_ptr, columns)
    values = torch.tensor([1.0, 10.0, 100.0])
    y = Native().forward(x, values, None, connectivity)
    first, second, third = (torch.arange(16.0) + number for number in range(3))
    torch.testing.assert_close(y, torch.stack((first, 10 * second + 100 * third), 1))
    dy = torch.randn(16, 2)
    found = Native().grad_values(dy, x, connectivity)
    expected = torch.stack((dy[:, 0] @ first, dy[:, 1] @ second, dy[:, 1] @ third))
    torch.testing.assert_close(found, expected)


def test_keys_of_wide_layers_come_back():
    shape = (5, 2**40)
    keys = torch.tensor([0, 2**31, 2**40 - 1, 2**40, 3 * 2**40 + 2**35, 5 * 2**40 - 1])
    connectivity = from_keys(keys.clone(), shape)
    assert connectivity.row_ptr.tolist() == [0, 3, 4, 4, 5, 6]
    assert connectivity.col.tolist() == [0, 2**31, 2**40 - 1, 0, 2**35, 2**40 - 1]
    assert connectivity.col.dtype == torch.int64
    assert torch.equal(keys_of(connectivity), keys)
    assert absent(torch.tensor([0, 2**31, 2**40]), keys).tolist() == [1, 2**31 + 2, 2**40 + 4]


def test_a_layer_of_10_10_places_is_drawn_and_rewired():
    layer = SparseLinear(10**5, 10**5, connectivity=topologies.random((10**5, 10**5), 1 - 1e-7))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    rewirer = SET(layer, optimizer, update_every=1, stop_after=9, fraction=0.5)
    before = keys_of(layer.connectivity)
    layer(torch.ones(1, 10**5)).sum().backward()
    optimizer.step()
    rewirer.step()
    after = keys_of(layer.connectivity)
    assert after.numel() == 1000
    assert bool((after[1:] > after[:-1]).all())
    assert int(after.min()) >= 0
    assert 2**31 < int(after.max()) < 10**10
    share = rewirer.share(1)
    assert torch.isin(after, before).sum() == 1000 - int(share * 1000)

"""What is kept of a call computes what the backend itself does, however its tensors lie."""

import itertools

import pytest
import torch

import sparselayers as sl
from sparselayers.backends import BACKENDS
from sparselayers.backends.triton_kernels import partition, ways
from sparselayers.backends.triton_kernels.prepared import Prepared
from tests.gpu.oracle import mask_of

NEEDS = [needs for needs in itertools.product((True, False), repeat=3) if any(needs[:2])][1:]


def laid_out(matrix):
    """The same matrix row by row, column by column, and with room between its numbers."""
    wide = matrix.repeat_interleave(2, 1)
    return matrix.contiguous(), matrix.t().contiguous().t(), wide[:, ::2]


def numbers(connectivity, batch, dtype, device):
    """Drawn x, dy, values and bias."""
    outputs, inputs = connectivity.shape
    sizes = (batch, inputs), (batch, outputs), (connectivity.nnz,), (outputs,)
    return [torch.randn(size, device=device).to(dtype) for size in sizes]


def equal(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "batch", "dtype", "height"),
    [
        ("triton", 1, torch.float32, 1),
        ("triton", 5, torch.float64, 1),
        ("triton_gather", 5, torch.float16, 0),
        ("triton_gather", 17, torch.float32, 1),
        ("triton_bitmaps", 17, torch.bfloat16, 1),
        ("triton", 16, torch.float32, 8),
    ],
)
def test_every_layout_and_choice_of_gradients(name, batch, dtype, height, device, monkeypatch):
    backend = BACKENDS[name]
    if not height:  # as of a layer with many connections
        monkeypatch.setattr(ways, "_LITTLE", 0)
    mask = mask_of((4, 18), 0.4).repeat_interleave(max(1, height), 0)
    where = sl.from_mask(mask).to(device)
    x, dy, values, bias = numbers(where, batch, dtype, device)
    prepared = backend.shortly(x, where)
    assert isinstance(prepared, Prepared)
    assert prepared is backend.shortly(x, where)
    assert prepared.name == name
    for one in laid_out(x):
        for given in (bias, None):
            expected = backend.forward(one, values, given, where)
            equal([prepared.forward(one, values, given, where) for _ in range(2)], [expected] * 2)
        arranged = backend.arrange(one, where)
        for _ in range(2):
            again = prepared.arrange(one, where)
            assert torch.equal(again, one)
            assert again.stride() == arranged.stride()
    given = [(each, (True, True, True)) for each in (x.new_ones(()).expand_as(dy), *laid_out(dy))]
    for above, needs in given + [(dy, needs) for needs in NEEDS]:
        expected = backend.backward(above, arranged, values, where, needs=needs)
        for _ in range(2):
            found = prepared.backward(above, arranged, values, where, needs=needs)
            equal(found, expected)
    without = backend.backward(dy, None, values, where, needs=(True, False, False))
    equal(prepared.backward(dy, None, values, where, needs=(True, False, False)), without)


def test_rows_that_are_cut(device, monkeypatch):
    monkeypatch.setattr(partition, "CUT", 12)
    monkeypatch.setattr(partition, "LONG", 1)
    mask = mask_of((12, 40), 0.03)
    mask[3], mask[11, ::2], mask[:, 4] = True, True, True
    backend, where = BACKENDS["triton"], sl.from_mask(mask).to(device)
    x, dy, values, bias = numbers(where, 3, torch.float32, device)
    for given in (bias, None):
        needs = True, True, given is not None
        expected = [backend.forward(x, values, given, where)]
        expected += backend.backward(dy, x, values, where, needs=needs)
        for _ in range(3):
            prepared = backend.shortly(x, where)
            found = [prepared.forward(x, values, given, where)]
            found += prepared.backward(dy, x, values, where, needs=needs)
            equal(found, expected)


def test_memory_that_begins_anywhere(device):
    """Kernels are compiled for addresses that are multiples of 16."""
    backend, where = BACKENDS["triton"], sl.from_mask(mask_of((9, 18), 0.4)).to(device)
    x, dy, values, bias = numbers(where, 2, torch.float32, device)
    expected = [backend.forward(x, values, bias, where)]
    expected += backend.backward(dy, x, values, where, needs=(True, True, True))
    moved = [torch.cat((t.new_zeros(1), t.flatten()))[1:].view_as(t) for t in (x, dy, values, bias)]
    for a, b, c, d in ((x, dy, values, bias), moved, (x, dy, values, bias), moved):
        prepared = backend.shortly(x, where)
        found = [prepared.forward(a, c, d, where)]
        found += prepared.backward(b, a, c, where, needs=(True, True, True))
        equal(found, expected)


def test_nothing_is_prepared_for_nothing(device):
    backend, where = BACKENDS["triton"], sl.from_mask(mask_of((9, 18), 0.4)).to(device)
    assert backend.shortly(torch.zeros(0, 18, device=device), where) is backend
    nothing = torch.zeros(10, dtype=torch.int32), torch.zeros(0, dtype=torch.int32)
    empty = sl.Connectivity((9, 18), *nothing).to(device)
    assert backend.shortly(torch.zeros(3, 18, device=device), empty) is backend


def test_each_precision_has_its_own(device):
    backend, where = BACKENDS["triton"], sl.from_mask(mask_of((9, 18), 0.4)).to(device)
    few, x = torch.zeros(3, 18, device=device), torch.zeros(16, 18, device=device)
    before, full, same = (
        torch.get_float32_matmul_precision(),
        backend.shortly(x, where),
        backend.shortly(few, where),
    )
    try:
        torch.set_float32_matmul_precision("high")
        assert backend.shortly(x, where) is not full
        assert backend.shortly(few, where) is same  # which tensor cores take no part in
        assert backend.shortly(x.double(), where) is backend.shortly(x.double(), where)
    finally:
        torch.set_float32_matmul_precision(before)
    assert backend.shortly(x, where) is full

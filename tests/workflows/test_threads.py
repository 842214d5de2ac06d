"""Several threads that use a layer at once, the first time above all."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest
import torch
import torch.nn.functional as F

import sparselayers as sl
from sparselayers.backends import BACKENDS, native

# By the room of the kernels that computes it: the layer, how many rows, and what serves them.
SMALL, WIDE = (500, 600), (800, 800)
KINDS = {
    "lanes": ("lanes", SMALL, 0.9, 40, "Lanes"),
    "few": ("native", SMALL, 0.9, 4, "Few"),
    "nonzero": ("native", WIDE, 0.9, 1, "Few"),
    "one_block": ("native", SMALL, 0.9, 32, "OneBlock"),
    "bitmaps": ("bitmaps", SMALL, 0.5, 16, "Bitmaps"),
    "few_bitmaps": ("native", SMALL, 0.5, 2, "FewBitmaps"),
    "n_of_m": ("n_of_4", SMALL, "2:4", 2, "NOfFour"),
    "panels": ("panels", SMALL, 0.5, 16, "Panels"),
    "row_blocks": ("row_blocks", SMALL, "4x1", 16, "RowBlocks"),
}
needs_kernels = pytest.mark.skipif(
    BACKENDS["native"].unavailable() is not None, reason="the C++ kernels were not built"
)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def at_once(calls):
    """Return what each of the calls does, made by as many threads that begin together."""
    together = Barrier(len(calls))

    def begin(call):
        together.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [job.result() for job in [pool.submit(begin, call) for call in calls]]


def connected(shape, what, seed):
    """Connections of that sparsity, two of every four, or in blocks of four outputs in a row."""
    if what == "2:4":
        return sl.n_of_m(shape, 2, 4, generator=seeded(seed))
    if what == "4x1":
        mask = torch.rand(shape[0] // 4, shape[1], generator=seeded(seed)) < 0.1
        return sl.from_mask(mask.repeat_interleave(4, 0))
    return sl.random(shape, what, generator=seeded(seed))


@needs_kernels
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_backward_of_several_threads(kind):
    backend, shape, what, batch, serves = KINDS[kind]
    for seed in range(3):
        connectivity = connected(shape, what, seed)
        layer = sl.SparseLinear(
            shape[1], shape[0], connectivity=connectivity, generator=seeded(seed), backend=backend
        )
        x = torch.randn(batch, shape[1])
        if kind == "nonzero":
            x[:, 40:] = 0
        check(layer, x, F.linear)
        assert type(BACKENDS[backend].shortly(x, connectivity)).__name__ == serves


def test_the_first_backward_of_a_convolution():
    for seed in range(3):
        layer = sl.SparseConv2d(8, 16, 3, padding=1, sparsity=0.8, generator=seeded(seed))
        check(layer, torch.randn(4, 8, 12, 12), partial(F.conv2d, padding=1))


def check(layer, x, dense):
    """Have four threads differentiate a new layer; all must find what the dense one does."""

    def gradients():
        given = x.clone().requires_grad_()
        y = layer(given)
        dx, dweights = torch.autograd.grad(y.square().sum(), [given, layer.weights])
        return y.detach(), dx, dweights

    found = at_once([gradients] * 4)
    weight = layer.weight.to_dense().detach().requires_grad_()
    given = x.clone().requires_grad_()
    y = dense(given, weight, layer.bias)
    dx, dweight = torch.autograd.grad(y.square().sum(), [given, weight])
    dweights = dweight.flatten(1)[layer.connectivity.mask()]
    for one in found:
        torch.testing.assert_close(one[:2], (y.detach(), dx), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one[2], dweights, rtol=1e-4, atol=1e-3)


def test_every_room_of_the_kernels_is_tried():
    """What computes has a file of its own; some others say which does, or try how long it takes."""
    files = Path(native.__file__).parent.glob("*.py")
    rooms = {file.stem for file in files if "def forward(" in file.read_text("utf-8")}
    elsewhere = {"amx"}  # tests/sparselayers/test_amx.py
    assert rooms - {"__init__", "probe", "short_choice"} - elsewhere == set(KINDS)


@pytest.mark.parametrize("rule", [sl.SET, sl.RigL, sl.dynamic.GSE])
def test_layers_that_were_connected_alike_are_rewired_at_once(rule):
    """Each by its own thread; what they begin with is one Connectivity, from which all draw."""
    shape = (80, 90)

    def trained(connectivity, seed, x):
        layer = sl.SparseLinear(
            *reversed(shape), connectivity=connectivity, generator=seeded(seed), dtype=x.dtype
        )
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.01, momentum=0.9)
        rewirer = rule(layer, optimizer, update_every=1, stop_after=9, generator=seeded(seed))
        for _ in range(4):
            optimizer.zero_grad()
            (layer(x) - 1).square().mean().backward()
            optimizer.step()
            rewirer.step()
        return layer

    for seed in range(2):
        x = torch.randn(8, shape[1], dtype=torch.float64)

        def all_of(seed=seed, x=x):
            begin = sl.random(shape, 0.8, generator=seeded(seed))
            return [lambda own=own: trained(begin, own, x) for own in range(4)]

        expected = [call() for call in all_of()]
        for one, other in zip(at_once(all_of()), expected, strict=True):
            assert one.connectivity.equals(other.connectivity)
            torch.testing.assert_close(one.weights, other.weights)


def test_the_transpose_is_made_once():
    connectivity = sl.random((300, 200), 0.9)
    made = []

    def make():
        made.append(1)
        return connectivity._transpose()

    found = at_once([lambda: connectivity.derive("once", make)] * 8)
    assert len(made) == 1
    assert all(each is found[0] for each in found)

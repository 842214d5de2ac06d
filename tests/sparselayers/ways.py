"""Connections for every way to compute on a CPU, and what it has to return: the dense product's."""

from __future__ import annotations

import torch

import sparselayers as sl
from sparselayers.backends import BACKENDS
from sparselayers.backends.native.calibration import Costs, Point
from sparselayers.backends.native.probe import PRODUCTS

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
ALL = (True, True, True)


def anywhere(shape, density=0.5):
    """Connections with an empty row, a full row and an empty column."""
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < density
    mask[0], mask[:, 0], mask[-1] = False, False, True
    return sl.from_mask(mask)


def blocks(shape, height, density=0.3, seed=0):
    """Connections in blocks of `height` rows: the first block empty, the last full."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(shape[0] // height, shape[1], generator=generator) < density
    mask[0], mask[-1] = False, True
    return sl.from_mask(mask.repeat_interleave(height, 0))


def n_of_m(shape, n, m=4, seed=0):
    """N of every M inputs of each output."""
    return sl.n_of_m(shape, n, m, generator=torch.Generator().manual_seed(seed))


def given(connectivity, batch, dtype=torch.float32):
    """Values, bias, x and dy of a layer with these connections."""
    generator = torch.Generator().manual_seed(1)
    outputs, inputs = connectivity.shape
    sizes = (connectivity.nnz,), (outputs,), (batch, inputs), (batch, outputs)
    return connectivity, *(torch.randn(*s, generator=generator).to(dtype) for s in sizes)


def products(way, connectivity, values, bias, x, dy):
    """Return y and the three gradients."""
    backend = BACKENDS[way]
    arranged = backend.arrange(x, connectivity)
    y = backend.forward(arranged, values, bias, connectivity)
    return y, *backend.backward(dy, arranged, values, connectivity, needs=ALL)


def by_dense(connectivity, values, bias, x, dy):
    """Return y and the three gradients, by the dense weight: the reference takes far longer."""
    row = torch.arange(connectivity.shape[0]).repeat_interleave(connectivity.row_ptr.diff())
    places = row, connectivity.col.long()
    weight = values.new_zeros(connectivity.shape).index_put(places, values)
    return x @ weight.t() + bias, dy @ weight, (dy.t() @ x)[places], dy.sum(0)


def check(way, connectivity, values, bias, x, dy):
    """Compare all products with the dense ones in float64, relative to the largest of each."""
    expected = by_dense(connectivity, *(tensor.double() for tensor in (values, bias, x, dy)))
    found = products(way, connectivity, values, bias, x, dy)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == values.dtype
        assert ours.shape == theirs.shape
        scale = theirs.abs().max().clamp(min=1e-30) if theirs.numel() else 1
        torch.testing.assert_close(
            ours.double() / scale, theirs / scale, rtol=0, atol=TOLERANCE[values.dtype]
        )


def check_what_is_not_finite(way, number, connectivity, values, bias, x, dy):
    """Put `number` into x and dy: products have none but where it is connected to."""
    way = BACKENDS[way]
    x[1, 5] = dy[2, 7] = number
    mask = connectivity.mask()
    y = way.forward(x, values, bias, connectivity)
    dx = way.grad_input(dy, values, connectivity)
    for found, sample, reached in ((y, 1, mask[:, 5]), (dx, 2, mask[7])):
        assert torch.equal(~found[sample].isfinite(), reached)
        others = [row for row in range(len(x)) if row != sample]
        assert found[others].isfinite().all()
    dweights = way.grad_values(dy, x, connectivity)
    reached = mask.clone()
    reached[torch.arange(len(mask)) != 7] &= torch.arange(mask.shape[1]) == 5
    assert torch.equal(~dweights.isfinite(), reached[mask])


def costs(**ways):
    """Costs of ways for each connection, the same for every batch."""
    found = {
        way: {product: [Point(1, 0.0, each)] for product in PRODUCTS} for way, each in ways.items()
    }
    return Costs(found, "made up", 0.0)

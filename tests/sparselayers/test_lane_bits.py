"""Lanes that read bits in place of columns: against dense products, and what a layer holds then."""

import pytest
import torch

import sparselayers as sl
from sparselayers import sizes
from sparselayers.backends import BACKENDS
from sparselayers.backends.native import lane_bits
from tests import instruction_sets

pytestmark = pytest.mark.skipif(
    BACKENDS["lanes"].unavailable() is not None, reason="the C++ kernels were not built"
)
# No whole words, one of their rows and columns empty, and some words.
OUTPUTS, INPUTS = 131, 323
BATCHES = [64, 65, 128, 140, 257]  # blocks of 4 to 8 registers, full and not, and several
# Sums of as many products in float32, in a type that keeps 8 bits.
CLOSE = {torch.float32: 1e-4, torch.float64: 1e-10, torch.bfloat16: 2e-2}


def mask_of(density, outputs=OUTPUTS, inputs=INPUTS):
    mask = torch.rand(outputs, inputs, generator=torch.Generator().manual_seed(5)) < density
    mask[3], mask[-1], mask[:, 7], mask[:, -1] = False, True, False, True
    mask[10:90, 64:128] = False
    return mask


def problem(density, batch, dtype, **shape):
    generator = torch.Generator().manual_seed(batch)

    def randn(*sizes):
        return torch.randn(*sizes, generator=generator, dtype=torch.float64).to(dtype)

    connectivity = sl.from_mask(mask_of(density, **shape))
    outputs, inputs = connectivity.shape
    values, bias = randn(connectivity.nnz), randn(outputs)
    return connectivity, values, bias, randn(batch, inputs), randn(batch, outputs)


def products(x, dy, values, bias, connectivity, needs=(True, True, True)):
    """All of them by the lanes."""
    lanes = BACKENDS["lanes"]
    arranged = lanes.arrange(x, connectivity)
    y = lanes.forward(arranged, values, bias, connectivity)
    return y, *lanes.backward(dy, arranged, values, connectivity, needs=needs)


def exact(x, dy, values, bias, connectivity):
    """The same by the dense weight, in float64."""
    where = connectivity.row.long(), connectivity.col.long()
    x, dy, values, bias = (each.double() for each in (x, dy, values, bias))
    weight = values.new_zeros(connectivity.shape).index_put(where, values)
    return x @ weight.t() + bias, dy @ weight, (dy.t() @ x)[where], dy.sum(0)


def is_by_bits(connectivity):
    """Whether nothing else was made for the lanes."""
    made = [connectivity.has_derived(f"native {each}") for each in ("rows", "columns")]
    return connectivity.has_derived("bitmap") and not any(made)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("density", [0.3, 0.5, 1.0])
def test_all_products(density, batch, dtype):
    connectivity, values, bias, x, dy = problem(density, batch, dtype)
    found = products(x, dy, values, bias, connectivity)
    assert is_by_bits(connectivity)
    expected = exact(x, dy, values, bias, connectivity)
    for ours, theirs in zip(found, expected, strict=True):
        off = (ours.double() - theirs).abs().max() / theirs.abs().max()
        assert off < CLOSE[dtype]


@pytest.mark.parametrize("name", ["scalar", "avx2", "avx512"])
def test_every_instruction_set(name):
    instruction_sets.run(__file__, name, "all_products or finite")


@pytest.mark.parametrize("needs", [(True, False, False), (False, True, True), (True, True, False)])
def test_some_gradients(needs):
    connectivity, values, bias, x, dy = problem(0.5, 100, torch.float32)
    found = products(x, dy, values, bias, connectivity, needs)[1:]
    everything = products(x, dy, values, bias, connectivity)[1:]
    for wanted, ours, theirs in zip(needs, found, everything, strict=True):
        assert (ours is not None) == wanted
        assert ours is None or torch.equal(ours, theirs)


@pytest.mark.parametrize("batch", [64, 300])
def test_the_same_bits_on_any_number_of_threads(batch, threads):
    connectivity, *given = problem(0.5, batch, torch.float32, outputs=300, inputs=700)
    values, bias, x, dy = given
    found = []
    for number in 1, 2, 3, 2:
        threads(number)
        found.append(products(x, dy, values, bias, connectivity))
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


@pytest.mark.parametrize("batch", [64, 130])
def test_nearly_the_same_as_by_columns(batch, monkeypatch):
    connectivity, values, bias, x, dy = problem(0.5, batch, torch.float32)
    by_bits = products(x, dy, values, bias, connectivity)
    connectivity.forget()
    monkeypatch.setattr(lane_bits, "serve", lambda *_: False)
    by_columns = products(x, dy, values, bias, connectivity)
    assert connectivity.has_derived("native columns")
    for ours, theirs in zip(by_bits, by_columns, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


def test_what_is_not_finite_reaches_what_is_connected_and_nothing_else():
    connectivity, values, bias, x, dy = problem(0.5, 70, torch.float32)
    x[2, 5], dy[3, 8] = torch.inf, torch.nan
    y, dx, dvalues, _ = products(x, dy, values, bias, connectivity)
    mask = connectivity.mask()
    assert torch.equal(~y.isfinite(), torch.eye(70, dtype=torch.bool)[2, :, None] & mask[:, 5])
    assert torch.equal(~dx.isfinite(), torch.eye(70, dtype=torch.bool)[3, :, None] & mask[8])
    met = (connectivity.col == 5) | (connectivity.row == 8)
    assert torch.equal(~dvalues.isfinite(), met)


@pytest.mark.parametrize(
    ("batch", "shape", "density", "dtype"),
    [
        (64, (100, 400), 0.5, torch.float32),  # few outputs, which threads share out
        (64, (400, 200), 0.5, torch.float32),
        (64, (200, 400), 0.1, torch.float32),
        (12, (200, 400), 0.5, torch.float32),
        (64, (128, 1 << 16), 0.3, torch.float32),  # counts before a word take 16 bits
    ],
)
def test_others_are_read_as_columns(batch, shape, density, dtype):
    connectivity = sl.random(shape, 1 - density)
    assert not lane_bits.serve(batch, dtype, connectivity)


@pytest.mark.parametrize(("density", "inference", "training"), [(0.5, 0.56, 0.55), (0.3, 0.4, 0.4)])
def test_what_a_layer_holds(density, inference, training):
    """Values, their gradient, and 10 bits for 8 places: by far less than a dense layer."""
    layer = sl.SparseLinear(512, 512, connectivity=mask_of(density, 512, 512), backend="lanes")
    x, dense = torch.randn(128, 512), 4 * 512 * 512
    with torch.no_grad():
        layer(x)
    assert sum(tensor.nbytes for tensor in sizes.held(layer)) < inference * dense
    layer(x.requires_grad_()).sum().backward()
    assert is_by_bits(layer.connectivity)
    with_gradients = [*sizes.held(layer), *(p.grad for p in layer.parameters())]
    assert sum(tensor.nbytes for tensor in with_gradients) < training * 2 * dense

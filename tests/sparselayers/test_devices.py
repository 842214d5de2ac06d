"""Tensors and connections on two devices: one clear error, whichever of them is wrong."""

import pytest
import torch

import sparselayers as sl
from sparselayers.convolution.geometry import Geometry
from sparselayers.functional import sparse_conv2d, sparse_linear

# A device that every machine has beside the CPU.
ELSEWHERE = torch.device("meta")


def linear(x=None, values=None, bias=None):
    """A product of tensors on the CPU, but for those that are given."""
    connectivity = sl.random((6, 8), 0.5, generator=torch.Generator().manual_seed(0))
    x = torch.randn(3, 8) if x is None else x
    values = torch.randn(connectivity.nnz) if values is None else values
    bias = torch.randn(6) if bias is None else bias
    return sparse_linear(x, values, bias, connectivity)


def conv(x=None, values=None, bias=None):
    """The same as a convolution."""
    geometry = Geometry.of(3, 1, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    connectivity = sl.random((6, geometry.columns(2)), 0.5, generator=generator)
    x = torch.randn(3, 2, 5, 5) if x is None else x
    values = torch.randn(connectivity.nnz) if values is None else values
    bias = torch.randn(6) if bias is None else bias
    return sparse_conv2d(x, values, bias, connectivity, geometry)


@pytest.mark.parametrize(
    ("product", "shape", "nnz"), [(linear, (3, 8), 24), (conv, (3, 2, 5, 5), 54)]
)
def test_every_tensor_has_to_be_where_the_others_are(product, shape, nnz):
    def there(*size):
        return torch.randn(size, device=ELSEWHERE)

    for given, expected in (
        ({"x": there(*shape)}, "expected an input on cpu, where the layer's weights are, got meta"),
        ({"values": there(nnz)}, "an input on meta, where the layer's weights are, got cpu"),
        (  # the meta device has no connections: those of another serve there
            {"x": there(*shape), "values": there(nnz)},
            r"expected a bias .*on meta, got .*on cpu",
        ),
        ({"bias": there(6)}, r"expected a bias .*on cpu, got .*on meta"),
    ):
        with pytest.raises(RuntimeError, match=expected):
            product(**given)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (sl.SparseLinear(8, 6, sparsity=0.5), (3, 8)),
        (sl.SparseConv2d(2, 6, 3, sparsity=0.5), (3, 2, 5, 5)),
    ],
    ids=("linear", "conv"),
)
def test_a_layer_says_where_it_is(layer, shape):
    with pytest.raises(RuntimeError, match=r"expected an input on cpu, .*got meta"):
        layer(torch.randn(shape, device=ELSEWHERE))

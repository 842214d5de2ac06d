"""Every backend against the dense product."""

import pytest
import torch

import sparselayers as sl
from sparselayers.backends import BACKENDS
from sparselayers.functional import sparse_linear


def problem(shape, batch, *, dtype=torch.float64):
    """A mask with empty rows and columns, dense weights under it, and inputs."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(shape, generator=generator) < 0.3
    mask[::5], mask[:, 3::7] = False, False
    mask[-1, 0] = True
    weight = torch.randn(shape, generator=generator, dtype=dtype) * mask
    x = torch.randn(batch, shape[1], generator=generator, dtype=dtype)
    return sl.from_mask(mask), weight, x


@pytest.mark.parametrize("name", ["reference", "native"])
@pytest.mark.parametrize("batch", [0, 1, 7])
def test_matches_the_dense_product(name, batch):
    connectivity, weight, x = problem((23, 31), batch)
    values = weight[connectivity.mask()].requires_grad_()
    weight, bias = weight.requires_grad_(), torch.randn(23, dtype=x.dtype).requires_grad_()
    x_sparse, x_dense = x.clone().requires_grad_(), x.clone().requires_grad_()
    y = sparse_linear(x_sparse, values, bias, connectivity, backend=name)
    expected = torch.nn.functional.linear(x_dense, weight, bias)
    torch.testing.assert_close(y, expected)
    (bias_gradient,) = torch.autograd.grad(y.sin().sum(), bias, retain_graph=True)
    y.sin().sum().backward()
    expected.sin().sum().backward()
    torch.testing.assert_close(bias_gradient, bias.grad / 2)
    torch.testing.assert_close(x_sparse.grad, x_dense.grad)
    torch.testing.assert_close(values.grad, weight.grad[connectivity.mask()])


def test_the_reference_always_serves():
    assert BACKENDS["reference"].supports(torch.device("cpu"), torch.bfloat16)

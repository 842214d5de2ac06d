"""SparseConv2d against nn.Conv2d with the same weight: every argument, every gradient."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import sparselayers as sl
from sparselayers.convolution import windows
from sparselayers.layer import SparseLayer


def twins(*args, sparsity=0.6, dtype=torch.float64, **kwargs):
    """A SparseConv2d with an output and a channel without connections, and nn.Conv2d beside it."""
    dense = nn.Conv2d(*args, dtype=dtype, **kwargs)
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(dense.weight.shape, generator=generator) >= sparsity
    mask[::3], mask[:, 1:2] = False, False
    mask[-1, 0, 0, 0] = True
    sparse = sl.SparseConv2d(*args, connectivity=mask, dtype=dtype, **kwargs)
    with torch.no_grad():
        dense.weight.mul_(mask)
        sparse.weights.copy_(dense.weight[mask])
        if dense.bias is not None:
            sparse.bias.copy_(dense.bias)
    return sparse, dense, mask


def assert_same(sparse, dense, mask, x):
    """Compare the output and all gradients for one input."""
    xs, xd = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = sparse(xs), dense(xd)
    torch.testing.assert_close(y, expected)
    dy = torch.randn_like(expected)
    y.backward(dy)
    expected.backward(dy)
    torch.testing.assert_close(xs.grad, xd.grad)
    torch.testing.assert_close(sparse.weights.grad, dense.weight.grad[mask])
    if dense.bias is not None:
        torch.testing.assert_close(sparse.bias.grad, dense.bias.grad)


@st.composite
def signatures(draw):
    groups = draw(st.sampled_from([1, 2, 3]))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    padding = draw(
        st.one_of(
            st.sampled_from(["same", "valid"]),
            st.integers(0, 3),
            st.tuples(st.integers(0, 3), st.integers(0, 3)),
        )
    )
    stride = (
        1
        if padding == "same"
        else draw(st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3))))
    )
    args = (
        groups * draw(st.integers(1, 4)),
        groups * draw(st.integers(1, 5)),
        kernel[0] if draw(st.booleans()) else kernel,
        stride,
        padding,
        dilation,
        groups,
        draw(st.booleans()),
        mode,
    )
    size = draw(st.tuples(st.integers(10, 16), st.integers(10, 20)))
    return args, draw(st.sampled_from([(), (0,), (1,), (2,), (17,)])), size


@settings(max_examples=40, deadline=None)
@given(signatures())
@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
def test_the_whole_signature(signature):
    args, batch, size = signature
    sparse, dense, mask = twins(*args)
    assert_same(sparse, dense, mask, torch.randn(*batch, args[0], *size, dtype=torch.float64))


def test_blocks_of_images_and_of_rows(monkeypatch):
    sparse, dense, mask = twins(4, 6, 3, 2, 1)
    x = torch.randn(5, 4, 9, 11, dtype=torch.float64)
    for limit in (1, 300, 2500, 10_000):
        monkeypatch.setattr(windows, "BLOCK", limit)
        sparse.zero_grad()
        dense.zero_grad()
        sparse.backend = "reference"
        assert_same(sparse, dense, mask, x)


def test_channels_last_and_other_strides():
    sparse, dense, mask = twins(4, 6, 3, padding=1)
    x = torch.randn(3, 4, 9, 8, dtype=torch.float64)
    for other in (
        x.to(memory_format=torch.channels_last),
        x.transpose(2, 3),
        x[:, :, ::2, 1:],
        x[:1].expand(3, 4, 9, 8),
        x.flip(0)[::2],
    ):
        sparse.zero_grad()
        dense.zero_grad()
        assert_same(sparse, dense, mask, other)


def test_gradcheck_first_and_second_order():
    layer = sl.SparseConv2d(2, 2, 2, 2, 1, sparsity=0.5, dtype=torch.float64)
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)

    def function(x, values, bias):
        parameters = {"values": values, "bias": bias}
        return torch.func.functional_call(layer, parameters, (x,))

    arguments = (x, layer.weights, layer.bias)
    assert torch.autograd.gradcheck(function, arguments)
    assert torch.autograd.gradgradcheck(function, arguments, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_types_accumulate_in_float32(dtype):
    sparse, dense, mask = twins(16, 8, 3, padding=1, dtype=torch.float32)
    x = torch.randn(2, 16, 8, 8).to(dtype)
    narrow = copy.deepcopy(sparse).to(dtype)
    for layer in (sparse, dense):
        for parameter in layer.parameters():
            parameter.data = parameter.data.to(dtype).float()
    xs, xd = x.clone().requires_grad_(), x.float().requires_grad_()
    y, expected = narrow(xs), dense(xd)
    assert y.dtype == dtype
    torch.testing.assert_close(y, expected.to(dtype))
    dy = torch.randn_like(y)
    y.backward(dy)
    expected.backward(dy.float())
    torch.testing.assert_close(xs.grad, xd.grad.to(dtype))
    torch.testing.assert_close(narrow.weights.grad, dense.weight.grad[mask].to(dtype))


def test_autocast():
    layer = sl.SparseConv2d(4, 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(torch.randn(2, 4, 8, 8))
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert layer.weights.grad.dtype == torch.float32


def test_initialisation_is_that_of_conv2d():
    layer = sl.SparseConv2d(8, 40, 3, groups=2)
    bound = (4 * 9) ** -0.5
    for parameter in layer.parameters():
        assert 0.8 * bound < parameter.detach().abs().max() <= bound
    assert layer.weights.numel() == round(0.1 * 40 * 4 * 9)


def test_weight_as_coo_and_csr():
    sparse, dense, _ = twins(6, 6, (2, 3), groups=2)
    assert torch.equal(sparse.weight.to_dense(), dense.weight)
    sparse.format = "csr"
    assert sparse.weight.layout == torch.sparse_csr
    assert torch.equal(sparse.weight.to_dense(), dense.weight.flatten(1))


def test_state_of_another_number_of_connections(tmp_path):
    source = sl.SparseConv2d(4, 6, 3, sparsity=0.5)
    target = sl.SparseConv2d(4, 6, 3, sparsity=0.9)
    torch.save(source.state_dict(), tmp_path / "layer.pt")
    target.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(target(x), source(x))
    assert torch.equal(copy.deepcopy(source)(x), source(x))
    with pytest.raises(RuntimeError, match="row_ptr must have out"):
        sl.SparseConv2d(4, 8, 3).load_state_dict(source.state_dict())


def test_shape_is_known_without_data():
    layer = sl.SparseConv2d(4, 6, 3, 2, device="meta")
    assert layer(torch.empty(2, 4, 9, 11, device="meta")).shape == (2, 6, 4, 5)


def test_operators_are_well_formed():
    layer = sl.SparseConv2d(4, 6, 3, 2, 1, groups=2, sparsity=0.5, dtype=torch.float64)
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    where = layer.row_ptr, layer.col
    rest = layer.geometry.flat(), None
    operators = torch.ops.sparsebench
    dy = torch.randn_like(layer(x)).requires_grad_()
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    for operator, arguments in (
        (operators.conv2d, (x, layer.weights, layer.bias, *where, *rest)),
        (operators.conv2d_grad_input, (dy, layer.weights, *where, [4, 5, 6], *rest)),
        (operators.conv2d_grad_values, (dy, x, *where, *rest)),
    ):
        torch.library.opcheck(operator.default, arguments, test_utils=tests)


def test_operators_refuse_what_does_not_fit():
    layer = sl.SparseConv2d(4, 6, 3, groups=2, sparsity=0.5)
    x, where, geometry = torch.randn(2, 4, 5, 6), (layer.row_ptr, layer.col), layer.geometry.flat()
    dy, values = torch.randn_like(layer(x)), layer.weights.detach()
    operators = torch.ops.sparsebench
    for x_bad, values_bad in (
        (x[0], values),
        (x[:, :3], values),
        (x[:, :, :2], values),
        (x, values[1:]),
        (x, values.double()),
    ):
        with pytest.raises((RuntimeError, ValueError)):
            operators.conv2d(x_bad, values_bad, None, *where, geometry, None)
    for bad in (dy[:1], dy[:, :5], dy[:, :, 1:], dy.double()):
        with pytest.raises(RuntimeError, match="expected"):
            operators.conv2d_grad_values(bad, x, *where, geometry, None)
    with pytest.raises(RuntimeError, match="expected dy of shape"):
        operators.conv2d_grad_input(dy, values, *where, [4, 5, 7], geometry, None)
    with pytest.raises((RuntimeError, ValueError)):
        operators.conv2d(x, values, None, *where, geometry[1:], None)
    with pytest.raises(RuntimeError, match="expected bias"):
        operators.conv2d(x, values, torch.randn(5), *where, geometry, None)


def test_compile_and_export():
    model = nn.Sequential(sl.SparseConv2d(3, 4, 3, padding=1), nn.ReLU())
    x = torch.randn(2, 3, 6, 6)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    expected = model(x)
    torch.testing.assert_close(compiled(x), expected)
    compiled(x).sum().backward()
    gradient = model[0].weights.grad.clone()
    model.zero_grad()
    model(x).sum().backward()
    torch.testing.assert_close(gradient, model[0].weights.grad)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), expected)


def test_vmap():
    layer = sl.SparseConv2d(3, 4, 3, dtype=torch.float64, sparsity=0.5)
    x = torch.randn(5, 2, 3, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(torch.vmap(layer)(x), torch.stack([layer(part) for part in x]))


def test_gradients_that_nobody_needs_are_not_computed(monkeypatch):
    from sparselayers.convolution import products

    layer = sl.SparseConv2d(3, 4, 3)
    for name in ("grad_input", "grad_values"):
        with monkeypatch.context() as patch:
            patch.setattr(products, name, lambda *_: pytest.fail("computed"))
            x = torch.randn(2, 3, 6, 6, requires_grad=name == "grad_values")
            layer.weights.requires_grad_(name == "grad_input")
            layer(x).sum().backward()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 0}, "kernel_size must be integers of at least 1, got 0"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size must be an integer or a pair"),
        ({"kernel_size": 2.5}, "kernel_size must be integers"),
        ({"stride": 0}, "stride must be"),
        ({"padding": -1}, "padding must be integers of at least 0, got -1"),
        ({"padding": "full"}, "padding must be an integer, a pair, 'same' or 'valid', got 'full'"),
        ({"padding": "same", "stride": 2}, "padding='same' needs stride 1"),
        ({"dilation": True}, "dilation must be"),
        ({"groups": 3}, "in_channels = 4 must be divisible by groups = 3"),
        ({"padding_mode": "mirror"}, "padding_mode must be one of zeros, reflect"),
        ({"sparsity": 1.0}, r"sparsity must be in \[0, 1\)"),
        ({"connectivity": torch.ones(2, 2, 3, 3, dtype=torch.bool)}, r"of shape \(6, 4, 3, 3\)"),
        ({"connectivity": torch.tensor([[0], [36]])}, "an input index must be in"),
        ({"init": "zeros"}, "init must be one of"),
        ({"backend": "abacus"}, "abacus"),
    ],
)
def test_bad_arguments(arguments, message):
    arguments = {"kernel_size": 3} | arguments
    with pytest.raises(ValueError, match=message):
        sl.SparseConv2d(4, 6, **arguments)


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(2, 5, 8, 8),
        torch.randn(8, 8),
        torch.randn(2, 4, 2, 8),
        torch.randn(2, 4, 8, 8).double(),
        torch.randn(2, 4, 8, 8, device="meta"),
        torch.ones(2, 4, 8, 8, dtype=torch.int64),
    ],
)
def test_bad_input_raises_what_conv2d_raises(x):
    with pytest.raises(RuntimeError):
        nn.Conv2d(4, 6, 3)(x.to("cpu") if x.is_meta else x) if not x.is_meta else _fail()
    with pytest.raises(RuntimeError, match="expected"):
        sl.SparseConv2d(4, 6, 3)(x)


def _fail():
    raise RuntimeError("nn.Conv2d computes shapes for the meta device")


def test_is_a_sparse_layer():
    layer = sl.SparseConv2d(4, 6, 3, 2, "valid", groups=2, padding_mode="circular")
    assert isinstance(layer, SparseLayer)
    assert "4, 6, kernel_size=(3, 3), stride=(2, 2), padding=valid, groups=2" in repr(layer)

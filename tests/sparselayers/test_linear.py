"""SparseLinear: the published interface, initialisation, connections, and bad input."""

import math

import pytest
import torch

import sparselayers as sl
from sparselayers.backends import BACKENDS
from sparselayers.functional import sparse_linear


def test_the_published_interface():
    # What the sparselinear package's README and tutorial do, after `import sparselayers as sl`.
    layer = sl.SparseLinear(784, 2000)
    assert layer.weights.shape == (156800,)
    assert layer.weight.shape == (2000, 784)
    assert layer.bias.shape == (2000,)
    assert layer.extra_repr().startswith("in_features=784, out_features=2000, bias=True")
    col = torch.arange(784).repeat_interleave(3).view(1, -1)
    row = torch.randint(low=0, high=2000, size=(784 * 3,)).view(1, -1)
    connections = torch.cat((row, col), dim=0)
    connections = torch.cat((connections, connections[:, :1]), dim=1)  # random edges may repeat
    with pytest.warns(UserWarning, match="more than once"):
        layer = sl.SparseLinear(784, 2000, connectivity=connections)
    assert layer.weights.numel() == torch.unique(connections, dim=1).shape[1]
    assert layer.weight.requires_grad  # and passes its gradient on to `weights`
    assert sl.SparseLinear(20, 30, False, 0.5).bias is None
    small_world = sl.SparseLinear(784, 2000, small_world=True)
    assert small_world.weights.shape == (156800,)
    x = torch.rand(784)
    assert small_world(x).shape == (2000,)
    with torch.no_grad():  # the tutorial trains by hand
        for parameter in small_world.parameters():
            parameter -= 1e-3 * torch.ones_like(parameter)


def test_weight_is_a_view_of_the_values():
    layer = sl.SparseLinear(7, 5, sparsity=0.4)
    dense = layer.weight.to_dense()
    assert torch.equal(dense != 0, layer.connectivity.mask())
    with torch.no_grad():
        layer.weights.mul_(2)
    assert torch.equal(layer.weight.to_dense(), 2 * dense)
    assert torch.equal(layer.weight.coalesce().indices(), layer.indices)
    x = torch.randn(3, 7)
    torch.testing.assert_close(layer(x), x @ (2 * dense).T + layer.bias)


@pytest.mark.parametrize("shape", [(7,), (0, 7), (1, 7), (4, 7), (2, 3, 7), (2, 0, 3, 7)])
def test_any_leading_dimensions(shape):
    layer = sl.SparseLinear(7, 5, sparsity=0.4)
    x = torch.randn(shape, requires_grad=True)
    expected = torch.nn.functional.linear(x, layer.weight.to_dense(), layer.bias)
    torch.testing.assert_close(layer(x), expected)
    (dx,) = torch.autograd.grad(layer(x).sum(), x)
    (dx_dense,) = torch.autograd.grad(expected.sum(), x)
    torch.testing.assert_close(dx, dx_dense)


def test_every_form_of_connectivity_gives_the_same_layer():
    mask = torch.rand(5, 7, generator=torch.Generator().manual_seed(1)) < 0.4
    connectivity = sl.from_mask(mask)
    edges = mask.nonzero().T.flip(1)  # in any order
    for given in (mask, connectivity, edges, edges.int()):
        layer = sl.SparseLinear(7, 5, connectivity=given)
        assert torch.equal(layer.connectivity.mask(), mask)


def test_the_connectivity_given_is_copied():
    connectivity = sl.from_mask(torch.ones(2, 3, dtype=torch.bool))
    first = sl.SparseLinear(3, 2, connectivity=connectivity)
    second = sl.SparseLinear(3, 2, connectivity=connectivity)
    assert first.col.data_ptr() != second.col.data_ptr() != connectivity.col.data_ptr()


def test_initialisation_is_the_published_one_by_default():
    layer = sl.SparseLinear(400, 100, sparsity=0.5, generator=torch.Generator().manual_seed(0))
    bound = 1 / math.sqrt(400)
    for parameter in layer.parameters():
        assert 0.9 * bound < parameter.abs().max() <= bound
        assert abs(float(parameter.detach().mean())) < 0.25 * bound


def test_fan_in_initialisation_counts_connections():
    mask = torch.zeros(3, 1000, dtype=torch.bool)
    mask[0, :4], mask[1, :] = True, True  # the third output has none
    layer = sl.SparseLinear(1000, 3, connectivity=mask, init="fan_in")
    first, second = layer.weights[:4].abs().max(), layer.weights[4:].abs().max()
    assert first <= 0.5
    assert 0.9 < second * math.sqrt(1000) <= 1
    assert (layer.bias.abs() <= torch.tensor([0.5, 1000**-0.5, 1.0])).all()


@pytest.mark.parametrize("init", ["linear", "fan_in", "kaiming", "lognormal"])
def test_reproducible_from_a_generator(init):
    first, second = (
        sl.SparseLinear(30, 20, init=init, generator=torch.Generator().manual_seed(7))
        for _ in range(2)
    )
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    before = first.weights.clone()
    first.reset_parameters(generator=torch.Generator().manual_seed(8))
    assert not torch.equal(first.weights, before)


def test_extra_repr_says_what_it_is():
    layer = sl.SparseLinear(10, 20, bias=False)
    assert repr(layer) == (
        "SparseLinear(in_features=10, out_features=20, bias=False, sparsity=0.9, nnz=20)"
    )


@pytest.mark.parametrize("init", ["linear", "fan_in", "kaiming", "lognormal"])
def test_meta_device(init):
    with torch.device("meta"):
        implicit = sl.SparseLinear(10, 20, init=init)
    for layer in (implicit, sl.SparseLinear(10, 20, init=init, device="meta")):
        assert {parameter.device.type for parameter in layer.parameters()} == {"meta"}
        assert layer.connectivity.nnz == layer.weights.numel() == 20
        assert layer(torch.empty(3, 10, device="meta")).shape == (3, 20)
    source = sl.SparseLinear(10, 20)
    target = implicit.to_empty(device="cpu")
    target.load_state_dict(source.state_dict())
    x = torch.randn(3, 10)
    assert torch.equal(target(x), source(x))


def test_nan_reaches_the_connected_outputs():
    layer = sl.SparseLinear(7, 5, sparsity=0.5)
    x = torch.zeros(2, 7)
    x[1, 3] = float("nan")
    y = layer(x)
    assert not y[0].isnan().any()
    assert torch.equal(y[1].isnan(), layer.connectivity.mask()[:, 3])


BAD_ARGUMENTS = [
    ({"sparsity": 1.0}, "sparsity must be in"),
    ({"sparsity": -0.1}, "sparsity must be in"),
    ({"sparsity": float("nan")}, "sparsity must be in"),
    ({"sparsity": 0.9999}, "leaves no connection"),
    ({"init": "xavier"}, "init must be one of linear, fan_in, kaiming, lognormal, got 'xavier'"),
    ({"connectivity": torch.tensor([[0], [0]]), "small_world": True}, "choose one"),
    ({"connectivity": torch.tensor([[0], [10]])}, r"connectivity\[1, 0\] = 10"),
    ({"connectivity": torch.tensor([[-1], [0]])}, r"connectivity\[0, 0\] = -1"),
    ({"connectivity": torch.tensor([[0.0], [1.0]])}, "integer type"),
    ({"connectivity": torch.zeros(3, 2, dtype=torch.int64)}, r"shape \(2, nnz\)"),
    ({"connectivity": torch.zeros(2, 0, dtype=torch.int64)}, "empty"),
    ({"connectivity": torch.ones(10, 20, dtype=torch.bool)}, r"mask has shape \(10, 20\)"),
    ({"connectivity": torch.zeros(20, 10, dtype=torch.bool)}, "empty"),
    ({"connectivity": sl.random((10, 20))}, r"connectivity has shape \(10, 20\), the layer"),
    ({"connectivity": [[0], [1]]}, "got list"),
    ({"backend": "cuda"}, "unknown backend 'cuda'"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        sl.SparseLinear(10, 20, **arguments)


@pytest.mark.parametrize("sizes", [(0, 5), (5, 0), (-1, 5), (2.5, 5)])
def test_bad_sizes(sizes):
    with pytest.raises(ValueError, match="two positive integers"):
        sl.SparseLinear(*sizes)


BAD_INPUTS = [
    (torch.zeros(3, 8), r"shape \(\*, 7\), got \(3, 8\)"),
    (torch.tensor(1.0), r"shape \(\*, 7\), got \(\)"),
    (torch.zeros(3, 7, dtype=torch.float64), "type torch.float32, .* got torch.float64"),
    (torch.zeros(3, 7, dtype=torch.int64), "type torch.float32, .* got torch.int64"),
    (torch.zeros(3, 7, device="meta"), "input on cpu, .* got meta"),
    ([[0.0] * 7], "Tensor, got list"),
]


@pytest.mark.parametrize(("x", "message"), BAD_INPUTS)
def test_bad_inputs_raise_what_nn_linear_raises(x, message):
    with pytest.raises((RuntimeError, TypeError)) as expected:
        torch.nn.Linear(7, 5)(x)
    with pytest.raises(expected.type, match=message):
        sl.SparseLinear(7, 5, sparsity=0.5)(x)


def test_a_backend_can_be_asked_for():
    layer = sl.SparseLinear(7, 5, sparsity=0.5, backend="reference")
    assert layer.backend in BACKENDS
    assert layer(torch.zeros(2, 7)).shape == (2, 5)


def test_sizes_beyond_int32_take_int64():
    wide = 2**31 + 5
    edges = torch.tensor([[0, 1, 1], [wide - 1, 0, 2**31]])
    layer = sl.SparseLinear(wide, 2, connectivity=edges)
    assert layer.row_ptr.dtype == layer.col.dtype == torch.int64
    assert layer.col.tolist() == [wide - 1, 0, 2**31]
    assert layer.weight.shape == (2, wide)
    same = sl.SparseLinear(wide, 2, connectivity=edges.flip(1))
    same.load_state_dict(layer.state_dict())
    assert torch.equal(same.indices, layer.indices)


def test_int64_indices_compute_the_same():
    narrow = sl.SparseLinear(12, 9, sparsity=0.6)
    c = narrow.connectivity
    wide = sl.Connectivity(c.shape, c.row_ptr.long(), c.col.long())
    x = torch.randn(17, 12, requires_grad=True)
    results = [
        torch.autograd.grad(
            sparse_linear(x, narrow.weights, None, each).square().sum(), (x, narrow.weights)
        )
        for each in (c, wide)
    ]
    torch.testing.assert_close(*results)

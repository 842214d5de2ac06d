"""Whole layers on the triton backend: against the reference, compiled, cast, rewired."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import sparselayers as sl
from sparselayers import backends
from sparselayers.convolution.geometry import Geometry
from sparselayers.functional import sparse_conv2d, sparse_linear
from tests.gpu.conftest import INTERPRETED
from tests.gpu.oracle import mask_of
from tests.sparselayers.zoo import LAYERS


@pytest.fixture(autouse=True)
def _preferred(monkeypatch):
    """In the interpreter too, layers are to take the triton backend unasked."""
    if INTERPRETED:
        triton = backends.BACKENDS["triton"]
        monkeypatch.setattr(backends, "_first", lambda device, dtype: triton)


def step(layer, x):
    """The output, and the gradients of the input and of all parameters."""
    x = x.clone().requires_grad_()
    y = layer(x)
    leaves = [x, *layer.parameters()]
    return [y.detach(), *torch.autograd.grad(y.square().sum(), leaves)]


class Unwaiting(TorchDispatchMode):
    """Refuses operators that wait for a GPU, or whose result has a size that depends on numbers."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        waits = torch.Tag.data_dependent_output in func.tags or (
            torch.Tag.dynamic_output_shape in func.tags
        )
        assert not waits, f"{func} waits for the GPU"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("member", LAYERS, ids=repr)
def test_every_layer(member, device, monkeypatch):
    """The numbers of the reference; and a training step could be captured into a CUDA graph.

    That is so after the first one, without waiting for the GPU. (Rewiring, now and then, does.)
    """
    layer, x = member.build(), member.input()
    with monkeypatch.context() as patch:
        reference = backends.BACKENDS["reference"]
        patch.setattr(backends, "_first", lambda device, dtype: reference)
        expected = step(layer, x)
    if hasattr(layer, "duty_cycle"):
        layer.duty_cycle.zero_()
    for ours, theirs in zip(step(layer.to(device), x.to(device)), expected, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-4, atol=1e-5)
    if "dynamic" not in member.name:
        with Unwaiting():
            step(layer, x.to(device))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups"),
    [(3, 1, 1, 1, 1), (3, 2, 1, 1, 2), ((1, 2), 1, 0, 2, 1), (1, 1, 0, 1, 1)],
)
def test_convolution(kernel, stride, padding, dilation, groups, device):
    geometry = Geometry.of(kernel, stride, padding, dilation, groups)
    mask = mask_of((4, geometry.columns(4)), 0.5)
    x = torch.randn(2, 4, 6, 5)
    values, bias = torch.randn(int(mask.sum())), torch.randn(4)
    weight = torch.zeros(mask.shape).masked_scatter(mask, values)
    weight = weight.view(4, 4 // groups, *geometry.kernel).requires_grad_()
    dense = [x.clone().requires_grad_(), bias.clone().requires_grad_()]
    expected = torch.conv2d(dense[0], weight, dense[1], stride, padding, dilation, groups)
    dy = torch.randn_like(expected)
    dx, db, dw = torch.autograd.grad(expected, [*dense, weight], dy)
    ours = [t.to(device).requires_grad_() for t in (x, bias, values)]
    connectivity = sl.from_mask(mask).to(device)
    y = sparse_conv2d(ours[0], ours[2], ours[1], connectivity, geometry, backend="triton")
    found = torch.autograd.grad(y, ours, dy.to(device))
    answers = (expected, dx, db, dw.view(mask.shape)[mask])
    for actual, answer in zip((y, *found), answers, strict=True):
        torch.testing.assert_close(actual.cpu(), answer, rtol=1e-4, atol=1e-4)


def test_compiled_without_a_graph_break(device):
    layer = sl.SparseLinear(12, 9, sparsity=0.6, device=device)
    x = torch.randn(5, 12, device=device)
    expected = step(layer, x)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for ours, theirs in zip(step(compiled, x), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast(dtype, device):
    layer = sl.SparseLinear(12, 9, sparsity=0.6, device=device)
    x = torch.randn(5, 12, device=device, requires_grad=True)
    with torch.autocast(device.type, dtype=dtype):
        y = layer(x)
    assert y.dtype == dtype
    y.float().sum().backward()
    assert layer.weights.grad.dtype == x.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), layer(x), rtol=5e-2, atol=5e-2)


def test_twice_differentiated(device):
    connectivity = sl.from_mask(mask_of((6, 7), 0.5)).to(device)
    values = torch.randn(connectivity.nnz, dtype=torch.float64, device=device, requires_grad=True)
    x = torch.randn(2, 7, dtype=torch.float64, device=device, requires_grad=True)

    def product(x, values):
        return sparse_linear(x, values, None, connectivity, backend="triton")

    assert torch.autograd.gradgradcheck(product, (x, values), fast_mode=True)


@pytest.mark.parametrize("rewirer", [sl.RigL, sl.SET])
def test_rewiring(rewirer, device):
    model = torch.nn.Sequential(
        sl.SparseLinear(10, 12, sparsity=0.7), sl.KWinners(0.5), torch.nn.Linear(12, 2)
    ).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = rewirer(model, optimizer, update_every=2, stop_after=9, fraction=0.3)
    before = model[0].connectivity.mask()
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 10, device=device)).square().mean().backward()
        optimizer.step()
        schedule.step()
    connectivity = model[0].connectivity
    assert connectivity.device == device
    assert connectivity.nnz == int(before.sum())
    assert (connectivity.mask() != before).any()
    x = torch.randn(4, 10, device=device)
    torch.testing.assert_close(
        model[0](x), torch.nn.functional.linear(x, model[0].weight.to_dense(), model[0].bias)
    )

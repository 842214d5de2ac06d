"""Derivatives of every kind, as dense layers give them."""

import subprocess
import sys

import pytest
import torch
from torch.autograd import forward_ad
from torch.autograd.functional import hessian, hvp, jacobian
from torch.utils.flop_counter import FlopCounterMode

import sparselayers as sl
from sparselayers.functional import sparse_conv2d, sparse_linear

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # of PyTorch's forward mode


def linear(**options):
    return sl.SparseLinear(6, 5, sparsity=0.5, dtype=torch.float64, **options)


def conv(**options):
    return sl.SparseConv2d(2, 4, 2, padding=1, groups=2, sparsity=0.3, dtype=torch.float64)


LAYERS = {"linear": (linear, (4, 6)), "conv": (conv, (2, 2, 4, 4))}


@pytest.fixture(params=LAYERS)
def pair(request):
    """A layer, the dense one that computes the same, and an input."""
    build, shape = LAYERS[request.param]
    layer = build()
    return layer, layer.to_dense(), torch.randn(*shape, dtype=torch.float64)


def test_a_tangent_of_the_input(pair):
    *modules, x = pair
    tangents = []
    for module in modules:
        module.requires_grad_(False)  # what needs no gradient has a tangent all the same
        with forward_ad.dual_level():
            y = module(forward_ad.make_dual(x, x.cos()))
            tangents.append(forward_ad.unpack_dual(y).tangent)
    torch.testing.assert_close(*tangents)


def test_tangents_of_the_parameters(pair):
    layer, dense, x = pair
    d_weights, d_bias = torch.randn_like(layer.weights), torch.randn_like(layer.bias)
    d_weight = torch.zeros(layer.shape, dtype=torch.float64)
    d_weight[*layer.indices] = d_weights
    given = [
        (layer, {"weights": d_weights, "bias": d_bias}),
        (layer, {"bias": d_bias}),
        (dense, {"weight": d_weight.view_as(dense.weight), "bias": d_bias}),
        (dense, {"bias": d_bias}),
    ]
    tangents = []
    for module, of in given:
        values = dict(module.named_parameters())
        with forward_ad.dual_level():
            dual = {name: forward_ad.make_dual(values[name], t) for name, t in of.items()}
            y = torch.func.functional_call(module, dual, (x,))
            tangents.append(forward_ad.unpack_dual(y).tangent)
    torch.testing.assert_close(tangents[:2], tangents[2:])


def test_second_derivatives(pair):
    layer, dense, x = pair
    of = [lambda x, module=module: module(x).sin().sum() for module in (layer, dense)]
    expected = hessian(of[1], x)
    torch.testing.assert_close(hessian(of[0], x), expected)
    torch.testing.assert_close(hessian(of[0], x, vectorize=True), expected)
    forward = hessian(of[0], x, vectorize=True, outer_jacobian_strategy="forward-mode")
    torch.testing.assert_close(forward, expected)
    torch.testing.assert_close(torch.func.hessian(of[0])(x), expected)
    torch.testing.assert_close(hvp(of[0], x, x), hvp(of[1], x, x))


@pytest.mark.parametrize("options", [{}, {"strategy": "forward-mode"}])
def test_jacobians(pair, options):
    layer, dense, x = pair
    expected = jacobian(dense, x)
    torch.testing.assert_close(jacobian(layer, x, vectorize=True, **options), expected)
    torch.testing.assert_close(torch.func.jacfwd(layer)(x), expected)
    torch.testing.assert_close(torch.func.jacrev(layer)(x), expected)


@pytest.mark.parametrize("create_graph", [False, True])
def test_batches_of_gradients(pair, create_graph):
    layer, _, x = pair
    leaves = [x.requires_grad_(), layer.weights, layer.bias]
    y = layer(x)
    v = torch.randn(3, *y.shape, dtype=torch.float64)
    batched = torch.autograd.grad(
        y, leaves, v, is_grads_batched=True, retain_graph=True, create_graph=create_graph
    )
    of_each = [torch.autograd.grad(y, leaves, each, retain_graph=True) for each in v]
    torch.testing.assert_close(batched, tuple(map(torch.stack, zip(*of_each, strict=True))))


def test_views_whose_sign_is_kept_beside_their_memory(pair):
    layer, dense, x = pair

    def negated(tensor):
        view = torch.complex(tensor, -tensor).conj().imag.detach()
        assert view.is_neg()
        return view

    values, bias = negated(layer.weights), negated(layer.bias)
    for inputs in (x, negated(x)):
        inputs.requires_grad_()
        with torch.no_grad():
            expected = dense(inputs)
        if isinstance(layer, sl.SparseLinear):
            y = sparse_linear(inputs, values, bias, layer.connectivity)
        else:
            y = sparse_conv2d(inputs, values, bias, layer.connectivity, layer.geometry)
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(y.detach(), expected)
        (dx,) = torch.autograd.grad(y, inputs, negated(torch.ones_like(y)))
        (expected,) = torch.autograd.grad(dense(inputs), inputs, torch.ones_like(y))
        torch.testing.assert_close(dx, expected)


def flops(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def test_operations_are_counted(pair):
    """In proportion to the connections; twice as many backward."""
    layer, dense, x = pair
    x.requires_grad_()
    forward = round(flops(lambda: dense(x)) * layer.weights.numel() / dense.weight.numel())
    assert flops(lambda: layer(x)) == forward > 0
    assert flops(lambda: layer(x).sum().backward()) == 3 * forward
    y = layer(x).sum()  # where only the backward pass is counted
    assert flops(y.backward) == 2 * forward


def test_operations_are_counted_by_module():
    model = torch.nn.Sequential(linear(), torch.nn.Linear(5, 3, dtype=torch.float64))
    with FlopCounterMode(display=False) as counter:
        model(torch.randn(4, 6, dtype=torch.float64))
    counts = counter.get_flop_counts()
    assert sum(counts["Sequential.0"].values()) == 2 * 4 * model[0].weights.numel()


FIRST_USE = """
import threading, torch, sparselayers as sl
together, errors = threading.Barrier(8), []
def use(layer, x):
    together.wait()
    try:
        y = layer(x.requires_grad_())
        (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        dx.sum().backward()
        torch.func.vmap(layer)(x)
    except BaseException as error:
        errors.append(error)
threads = [
    threading.Thread(target=use, args=each)
    for each in [
        (sl.SparseConv2d(2, 3, 2), torch.randn(2, 2, 4, 4)),
        (sl.SparseLinear(6, 5), torch.randn(4, 6)),
    ] * 4
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not errors, errors
"""


def test_the_first_use_is_by_several_threads():
    done = subprocess.run([sys.executable, "-c", FIRST_USE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""Every layer as a module: state, devices and types, copies, hooks, optimizers."""

import copy
import io
import pickle

import pytest
import safetensors.torch
import torch

import sparselayers as sl
from sparselayers.backends import BACKENDS
from sparselayers.backends.reference import Reference
from tests.sparselayers.zoo import LAYERS, WITH_PARAMETERS

every_layer = pytest.mark.parametrize("member", LAYERS, ids=repr)
every_layer_with_parameters = pytest.mark.parametrize("member", WITH_PARAMETERS, ids=repr)


def through_torch_save(state):
    file = io.BytesIO()
    torch.save(state, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=True)


def through_safetensors(state):
    return safetensors.torch.load(safetensors.torch.save(state))


@every_layer
@pytest.mark.parametrize("travel", [dict, through_torch_save, through_safetensors])
def test_state_dict_round_trip(member, travel):
    source, target = member.build(), member.build()
    x = member.input()
    source(x), target(x)
    target.load_state_dict(travel(source.state_dict()))
    assert torch.equal(target.eval()(x), source.eval()(x))
    assert target.state_dict().keys() == source.state_dict().keys()


@every_layer
def test_state_dict_with_assign(member):
    source = member.build()
    with torch.device("meta"):
        target = member.build()
    x = member.input()
    source(x)
    target.load_state_dict(copy.deepcopy(source.state_dict()), assign=True)
    assert torch.equal(target.eval()(x), source.eval()(x))


@every_layer
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_types(member, dtype):
    layer = member.build()
    x = member.input()
    layer(x)
    exact = copy.deepcopy(layer).eval().double()
    layer = layer.eval().to(dtype)
    kinds = {t.dtype for t in layer.state_dict().values()}
    assert kinds <= {dtype, torch.int32}
    x = x.to(dtype)
    y = layer(x)
    assert y.dtype == dtype
    if list(layer.parameters()):  # among the k-winners, rounding decides who wins
        with torch.no_grad():
            for parameter, rounded in zip(exact.parameters(), layer.parameters(), strict=True):
                parameter.copy_(rounded)
        # Inputs and weights are exact in float64; float32 accumulation rounds once, at the end.
        torch.testing.assert_close(y, exact(x.double()).to(dtype))


@every_layer
def test_devices(member):
    layer = member.build()
    layer(member.input())
    layer = layer.to("meta")
    assert {t.device.type for t in (*layer.parameters(), *layer.buffers())} == {"meta"}
    assert layer(member.input().to("meta")).device.type == "meta"


@every_layer
def test_copies_are_independent(member):
    layer, x = member.build(), member.input()
    layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(twin) == repr(layer)
        assert torch.equal(twin.eval()(x), layer.eval()(x))
        for mine, its in zip(layer.state_dict().values(), twin.state_dict().values(), strict=True):
            assert mine.data_ptr() != its.data_ptr()


@every_layer
def test_hooks(member):
    layer, x = member.build(), member.input().requires_grad_()
    seen = []
    layer.register_forward_pre_hook(lambda module, args: seen.append("before"))
    layer.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    layer.register_full_backward_hook(
        lambda module, dx, dy: seen.append((dx[0].shape, dy[0].shape))
    )
    y = layer(x)
    y.sum().backward()
    assert seen == ["before", y.shape, (x.shape, y.shape)]
    gradients = []
    for parameter in layer.parameters():
        parameter.register_hook(lambda gradient: gradients.append(gradient.shape))
    layer(x).sum().backward()
    assert len(gradients) == len(list(layer.parameters()))


@every_layer
def test_an_inplace_activation_may_follow(member):
    layer, x = member.build().eval(), member.input().requires_grad_()
    expected = torch.autograd.grad(layer(x).relu().sum(), x)
    assert torch.equal(torch.autograd.grad(layer(x).relu_().sum(), x)[0], expected[0])


OPTIMIZERS = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.02),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.02, foreach=True),
}


@every_layer_with_parameters
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_with_groups_and_clipping(member, optimizer):
    layer, x = member.build(), member.input(16)
    target = torch.randn_like(layer(x))
    groups = [{"params": [p], "weight_decay": 1e-3} for p in layer.parameters()]
    optimizer = OPTIMIZERS[optimizer](groups)
    before, losses = layer.connectivity, []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (layer(x) - target).square().mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(layer.parameters(), 0.5)
        assert norm > 0
        squares = sum(float(p.grad.square().sum()) for p in layer.parameters())
        assert squares <= 0.5**2 + 1e-5
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.95 * losses[0]
    assert layer.connectivity is before or getattr(layer, "dynamic", False)


class Counting(Reference):
    """The reference, which notes what it is asked for."""

    name = "counting"

    def __init__(self):
        self.calls = []

    def grad_input(self, *args):
        self.calls.append("input")
        return super().grad_input(*args)

    def grad_values(self, *args):
        self.calls.append("values")
        return super().grad_values(*args)


@pytest.mark.parametrize("x_grad", [False, True])
@pytest.mark.parametrize("values_grad", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_what_needs_no_gradient_is_not_computed(monkeypatch, x_grad, values_grad, compiled):
    torch.compiler.reset()
    counting = Counting()
    monkeypatch.setitem(BACKENDS, "counting", counting)
    layer = sl.SparseLinear(12, 9, sparsity=0.6, backend="counting")
    layer.weights.requires_grad_(values_grad)
    x = torch.randn(3, 12, requires_grad=x_grad)
    call = torch.compile(layer, backend="aot_eager", fullgraph=True) if compiled else layer
    call(x).sum().backward()
    assert counting.calls == ["input"] * x_grad + ["values"] * values_grad
    assert (x.grad is not None, layer.weights.grad is not None) == (x_grad, values_grad)
    assert layer.bias.grad is not None


def test_no_graph_without_gradients():
    layer = sl.SparseLinear(12, 9)
    with torch.no_grad():
        assert layer(torch.randn(3, 12)).grad_fn is None
    with torch.inference_mode():
        assert layer(torch.randn(3, 12)).is_inference()
    assert layer.requires_grad_(False)(torch.randn(3, 12)).grad_fn is None


def test_layers_made_in_inference_mode():
    source = sl.SparseLinear(12, 9, sparsity=0.6)
    with torch.inference_mode():
        layer, x = sl.SparseLinear(12, 9, sparsity=0.6), torch.randn(3, 12)
        layer(x)
        layer.load_state_dict(source.state_dict())
        assert torch.equal(layer(x), source(x))

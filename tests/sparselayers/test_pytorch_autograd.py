"""Every layer under autograd, compilers and function transforms."""

import copy

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, grad, jacrev, jvp, stack_module_state, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

import sparselayers as sl
from sparselayers import operators
from sparselayers.backends import BACKENDS
from sparselayers.functional import k_winners, sparse_linear
from tests.sparselayers.zoo import LAYERS, WITH_PARAMETERS

every_layer = pytest.mark.parametrize("member", LAYERS, ids=repr)
every_layer_with_parameters = pytest.mark.parametrize("member", WITH_PARAMETERS, ids=repr)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()


def as_function(layer):
    """The layer as a function of its input and its parameters."""
    names = [name for name, _ in layer.named_parameters()]

    def function(x, *parameters):
        return functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    return function, [p.detach().clone().requires_grad_() for p in layer.parameters()]


@every_layer
def test_gradients_of_first_and_second_order(member):
    function, parameters = as_function(member.build().double().eval())
    x = member.input(3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(function, (x, *parameters), fast_mode=True)
    assert torch.autograd.gradgradcheck(function, (x, *parameters), fast_mode=True)


@pytest.mark.parametrize(
    "name", [name for name, backend in BACKENDS.items() if backend.supports(CPU, torch.float64)]
)
@pytest.mark.parametrize("batch", [1, 20])
def test_gradients_on_every_backend(name, batch):
    layer = sl.SparseLinear(10, 7, sparsity=0.7, dtype=torch.float64, backend=name)
    function, parameters = as_function(layer)
    x = torch.randn(batch, 10, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (x, *parameters), fast_mode=True)
    assert torch.autograd.gradgradcheck(function, (x, *parameters), fast_mode=True)


class Arranging(type(BACKENDS["reference"])):
    """The reference on a feature-major copy of its input, as fast backends make one."""

    name = "arranging"

    def arrange(self, x, connectivity):
        return x.t().contiguous().t()


def test_second_derivatives_find_their_way_through_an_arranged_copy(monkeypatch):
    monkeypatch.setitem(BACKENDS, "arranging", Arranging())
    layer = sl.SparseLinear(10, 7, sparsity=0.7, dtype=torch.float64, backend="arranging")
    function, parameters = as_function(layer)
    x = torch.randn(4, 10, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (x, *parameters))
    assert torch.autograd.gradgradcheck(function, (x, *parameters))
    (dv,) = torch.autograd.grad(
        function(x, *parameters).square().sum(), parameters[0], create_graph=True
    )
    # Neither y nor dx takes part: only what was saved leads back to x.
    assert torch.autograd.grad(dv.sum(), x)[0].abs().sum() > 0


@every_layer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(member, dtype):
    layer, x = member.build().eval(), member.input().requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        y = layer(x)
    weighted = bool(list(layer.parameters()))
    assert y.dtype == (dtype if weighted else torch.float32)
    y.float().sum().backward()
    assert x.grad.dtype == torch.float32
    for parameter in layer.parameters():
        assert parameter.grad.dtype == torch.float32
    expected = copy.deepcopy(layer)(x)
    torch.testing.assert_close(y.float(), expected, rtol=0.02, atol=0.02)
    with torch.autocast("cpu", dtype=dtype):  # leaves float64 alone, as nn.Linear does
        assert layer.double()(x.double()).dtype == torch.float64


@every_layer
def test_gradient_scaler(member):
    layer, x = member.build().eval(), member.input().requires_grad_()
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(layer(x).square().sum()).backward()
    (expected,) = torch.autograd.grad(layer(x).square().sum(), x)
    torch.testing.assert_close(x.grad / scaler.get_scale(), expected)


@every_layer
def test_compiles_as_one_graph(member):
    layer = member.build()
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True, backend="aot_eager")
    for batch in (6, 6, 3):
        x, y = (member.input(batch).requires_grad_() for _ in range(2))
        outputs = layer(x), compiled(y)
        torch.testing.assert_close(*outputs)
        for output in outputs:
            output.square().sum().backward()
        torch.testing.assert_close(x.grad, y.grad)
    for mine, its in zip(layer.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad)
    for mine, its in zip(layer.buffers(), compiled.buffers(), strict=True):
        torch.testing.assert_close(mine, its)


@pytest.mark.slow
def test_compiles_with_inductor():
    layer = torch.nn.Sequential(
        sl.SparseLinear(12, 9, sparsity=0.6), torch.nn.ReLU(), sl.SparseLinear(9, 4)
    )
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True)
    x, y = (torch.randn(5, 12, generator=torch.Generator().manual_seed(0)) for _ in range(2))
    x, y = x.requires_grad_(), y.requires_grad_()
    torch.testing.assert_close(layer(x), compiled(y))
    layer(x).sum().backward()
    compiled(y).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_a_compiled_layer_follows_its_connections():
    layer, other = (sl.SparseLinear(12, 9, sparsity=s) for s in (0.6, 0.7))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(5, 12)
    compiled(x)
    layer.load_state_dict(other.state_dict())
    torch.testing.assert_close(compiled(x), other(x))


@every_layer
def test_exports(member):
    layer = member.build().eval()
    x = member.input()
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: batch},), strict=False)
    for size in (6, 11):
        torch.testing.assert_close(program.module()(member.input(size)), layer(member.input(size)))


SAMPLES = {
    operators.linear: lambda c, x, values, bias, dy: (x, values, bias),
    operators.grad_input: lambda c, x, values, bias, dy: (dy, values),
    operators.grad_values: lambda c, x, values, bias, dy: (dy, x),
}


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # opcheck looks at it
@pytest.mark.parametrize("operator", SAMPLES, ids=lambda operator: operator._name)
@pytest.mark.parametrize("backend", [None, "reference"])
def test_operators_pass_opcheck(operator, backend):
    layer = sl.SparseLinear(12, 9, sparsity=0.6)
    x, dy = torch.randn(5, 12, requires_grad=True), torch.randn(5, 9, requires_grad=True)
    tensors = SAMPLES[operator](layer.connectivity, x, layer.weights, layer.bias, dy)
    torch.library.opcheck(operator, (*tensors, layer.row_ptr, layer.col, 12, backend))


@every_layer
def test_vmap_over_the_batch(member):
    layer = member.build().eval()
    x = member.input()
    torch.testing.assert_close(vmap(layer)(x), layer(x))
    torch.testing.assert_close(
        vmap(layer, in_dims=1, out_dims=1)(x.movedim(0, 1)).movedim(1, 0), layer(x)
    )


@every_layer_with_parameters
def test_gradients_of_each_sample(member):
    layer = member.build()
    x = member.input()
    parameters = {name: p.detach() for name, p in layer.named_parameters()}

    def loss(parameters, sample):
        return functional_call(layer, parameters, (sample[None],)).square().sum()

    of_each = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for i, sample in enumerate(x):
        layer.zero_grad()
        layer(sample[None]).square().sum().backward()
        for name, parameter in layer.named_parameters():
            torch.testing.assert_close(of_each[name][i], parameter.grad)


@every_layer_with_parameters
def test_an_ensemble_with_its_own_connections_each(member):
    members = [member.build() for _ in range(3)]
    parameters, buffers = stack_module_state(members)
    x = member.input()
    y = vmap(lambda p, b: functional_call(members[0], (p, b), (x,)))(parameters, buffers)
    torch.testing.assert_close(y, torch.stack([layer(x) for layer in members]))


def test_jacobian_is_the_weight():
    layer = sl.SparseLinear(12, 9, sparsity=0.6)
    torch.testing.assert_close(jacrev(layer)(torch.randn(12)), layer.weight.to_dense())


@pytest.mark.parametrize("build", [sl.KWinners, sl.KWinners2d])
def test_training_kwinners_under_vmap_is_refused(build):
    layer = build(features=4)
    with pytest.raises(RuntimeError, match="is not possible because"):
        vmap(layer)(torch.randn(3, 4, 5, 4))


@every_layer
def test_functional_call(member):
    layer, other = member.build().eval(), member.build().eval()
    x = member.input()
    y = functional_call(layer, dict(other.state_dict()), (x,))
    torch.testing.assert_close(y, other(x))


@every_layer
def test_the_same_bits_each_time(member):
    layer, results = member.build(), []
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(2):
            twin, x = copy.deepcopy(layer), member.input(33).requires_grad_()
            y = twin(x)
            y.square().sum().backward()
            results.append([y, x.grad, *(p.grad for p in twin.parameters()), *twin.buffers()])
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(map(torch.equal, *results))


@every_layer_with_parameters
def test_the_same_layer_from_the_same_seed(member):
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(member.build().state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_functions_take_views_of_any_kind():
    layer = sl.SparseLinear(12, 9, sparsity=0.6)
    x = torch.randn(12, 10)[:, ::2].t()
    values = torch.stack((layer.weights.detach(),) * 2, dim=1)[:, 0]
    bias = torch.zeros(1).expand(9)
    y = sparse_linear(x, values, bias, layer.connectivity)
    torch.testing.assert_close(y, x @ layer.weight.to_dense().T)
    negated = torch.complex(x, x).conj().imag  # a view with a lazy sign
    y = sparse_linear(negated, values, bias, layer.connectivity)
    torch.testing.assert_close(y, -x @ layer.weight.to_dense().T)
    torch.testing.assert_close(k_winners(negated, 3), k_winners(negated.clone(), 3))


def test_functions_refuse_what_does_not_fit():
    layer = sl.SparseLinear(12, 9, sparsity=0.6)
    x, values, connectivity = torch.randn(3, 12), layer.weights, layer.connectivity
    with pytest.raises(RuntimeError, match=rf"weights of shape \({values.numel()},\)"):
        sparse_linear(x, values[1:], None, connectivity)
    with pytest.raises(RuntimeError, match=r"bias of type torch.float32 and shape \(9,\)"):
        sparse_linear(x, values, torch.zeros(8), connectivity)
    with pytest.raises(RuntimeError, match=r"bias of type torch.float32 and shape \(9,\)"):
        sparse_linear(x, values, torch.zeros(9, dtype=torch.float64), connectivity)
    with pytest.raises(ValueError, match="unknown backend 'gpu'"):
        sparse_linear(x, values, None, connectivity, backend="gpu")


@every_layer
def test_tracers_see_operators_not_addresses(member):
    layer = member.build().eval()
    x = member.input()
    graph = make_fx(layer)(x)  # a function of x alone: the rest are constants
    other = member.input(seed=1)
    torch.testing.assert_close(graph(other), layer(other))
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with fake:
        assert layer(fake.from_tensor(x)).shape == layer(x).shape


@every_layer
def test_checkpointing(member):
    layer, x = member.build().eval(), member.input().requires_grad_()
    checkpoint(layer, x, use_reentrant=False).square().sum().backward()
    (expected,) = torch.autograd.grad(layer(x).square().sum(), x)
    assert torch.equal(x.grad, expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # PyTorch's own forward mode uses it
@every_layer
def test_forward_mode(member):
    function, parameters = as_function(member.build().double().eval())
    x = member.input(3, dtype=torch.float64).requires_grad_()
    torch.autograd.gradcheck(
        function, (x, *parameters), check_forward_ad=True, check_batched_grad=True, fast_mode=True
    )
    tangents = tuple(torch.randn_like(each) for each in (x, *parameters))
    y, tangent = jvp(function, (x, *parameters), tangents)
    torch.testing.assert_close(y, function(x, *parameters))
    step = 1e-6
    moved = function(*(a + step * t for a, t in zip((x, *parameters), tangents, strict=True)))
    torch.testing.assert_close(tangent, (moved - y) / step, rtol=1e-4, atol=1e-4)


def test_operators_check_what_they_are_given():
    layer = sl.SparseLinear(12, 9, sparsity=0.6)
    x, dy, values = torch.randn(5, 12), torch.randn(5, 9), layer.weights.detach()
    where = layer.row_ptr, layer.col, 12, None
    for operator, arguments in (
        (operators.linear, (x[:, 1:], values, None)),
        (operators.linear, (x[0], values, None)),
        (operators.linear, (x, values[1:], None)),
        (operators.linear, (x, values.double(), None)),
        (operators.linear, (x, values, torch.zeros(8))),
        (operators.grad_input, (dy[:, 1:], values)),
        (operators.grad_input, (dy, values[1:])),
        (operators.grad_values, (dy[1:], x)),
        (operators.grad_values, (dy, x[:, 1:])),
    ):
        with pytest.raises(RuntimeError, match=r"expected (x|dy|values|bias) of shape"):
            operator(*arguments, *where)
    with pytest.raises(ValueError, match=r"col\[0\] = .* is outside"):
        operators.linear(x, values, None, layer.row_ptr, layer.col + 100, 12, None)

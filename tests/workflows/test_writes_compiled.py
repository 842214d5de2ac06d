"""Connections that change under a compiled program: they take effect, or autograd refuses.

Whoever writes to `row_ptr` and `col` changes no tensor that the compiler guards. The program is
not compiled again for it.
"""

import copy

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import sparselayers as sl
from sparselayers.layer import SparseLayer

MESSAGE = "modified by an inplace operation"

# The compiler looks at it of what goes from one graph to the next.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")


class Twice(nn.Module):
    """A layer that the program calls twice."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(self.layer(x).relu())


def linear():
    return sl.SparseLinear(12, 12, sparsity=0.5), (4, 12)


def conv():
    return sl.SparseConv2d(3, 3, 3, padding=1, sparsity=0.5), (2, 3, 6, 6)


def twice():
    layer, shape = linear()
    return Twice(layer), shape


def data(target, source):
    """What a loop over a state dict writes, for averages say."""
    kept = source.state_dict()
    for name, tensor in target.state_dict().items():
        tensor.data.copy_(kept[name])


def rewire(target, source):
    pairs = zip(target.modules(), source.modules(), strict=True)
    for mine, other in ((m, o) for m, o in pairs if isinstance(m, SparseLayer)):
        mine.set_connections(other.connectivity, other.weights.detach())
        mine.bias.data.copy_(other.bias)


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def compiled(build):
    """Return a model, as it is and compiled, another with other connections, a counter, a shape."""
    (model, shape), (source, _) = build(), build()
    counter = CompileCounterWithBackend("aot_eager")
    return model, torch.compile(model, backend=counter, fullgraph=True), source, counter, shape


def gradients(use, model, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(use(x).square().sum(), [x, *model.parameters()])


@pytest.mark.parametrize("build", [linear, conv, twice])
@pytest.mark.parametrize("write", [data, rewire])
def test_what_is_written_takes_effect(write, build):
    model, use, source, counter, shape = compiled(build)
    x = torch.randn(shape)
    gradients(use, model, x)
    count = counter.frame_count
    other = build()[0]
    for written in source, other, other, source:
        write(model, written)
        torch.testing.assert_close(gradients(use, model, x), gradients(written, written, x))
    assert counter.frame_count == count


@pytest.mark.parametrize("build", [linear, conv])
def test_what_is_written_to_a_state_dict_that_is_kept(build):
    model, use, source, _, shape = compiled(build)
    x = torch.randn(shape)
    with torch.no_grad():
        use(x)
        kept = model.state_dict()
        use(x)
        for tensor, other in zip(kept.values(), source.state_dict().values(), strict=True):
            tensor.data.copy_(other)
        torch.testing.assert_close(use(x), source(x))


def test_what_is_no_topology_is_refused():
    model, use, _, _, shape = compiled(linear)
    x = torch.randn(shape)
    use(x)
    model.col.data.fill_(1)
    with pytest.raises(ValueError, match="columns must ascend"):
        use(x)


@pytest.mark.parametrize(("build", "first"), [(linear, True), (linear, False), (conv, True)])
@pytest.mark.parametrize(("write", "used"), [(data, True), (data, False), (rewire, False)])
def test_between_forward_and_backward_it_is_refused(write, used, build, first):
    """Whether or not it is the first layer, and the model is used in between."""
    model, use, source, _, shape = compiled(build)
    x = torch.randn(shape, requires_grad=not first)
    gradients(use, model, x)
    y = use(x).square().sum()
    write(model, source)
    if used:
        with torch.no_grad():
            use(x)
    with pytest.raises(RuntimeError, match=MESSAGE):
        y.backward()


def test_eager_convolutions_refuse_it_too():
    """A layer that asks for no gradient of its input has nothing else that tells."""
    (model, shape), (source, _) = conv(), conv()
    y = model(torch.randn(shape)).square().sum()
    model.row_ptr.data.copy_(source.row_ptr)
    model.col.data.copy_(source.col)
    with pytest.raises(RuntimeError, match=MESSAGE):
        y.backward()


@pytest.mark.parametrize("strict", [True, False])
def test_an_exported_program_knows_nothing_of_the_layer(strict):
    layer, shape = linear()
    x = torch.randn(shape)
    program = torch.export.export(layer, (x,), strict=strict)
    (node,) = (n for n in program.graph.nodes if "sparsebench" in str(n.target))
    assert len(node.args) < 8 or node.args[7] is None
    expected = layer(x)
    weights = layer.weights.detach().clone()
    layer.set_connections(linear()[0].connectivity, weights)
    torch.testing.assert_close(program.module()(x), expected)


def test_programs_of_copies_know_their_own_layer():
    model, use, source, _, shape = compiled(linear)
    twin = copy.deepcopy(model)
    both = use, torch.compile(twin, backend="aot_eager")
    x = torch.randn(shape)
    before = [each(x) for each in both]
    torch.testing.assert_close(*before)
    data(model, source)
    torch.testing.assert_close(both[1](x), before[1])
    torch.testing.assert_close(use(x), source(x))

"""torch.fx and torch.jit trace models of sparse layers as they trace dense ones."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

import sparselayers as sl

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.:FutureWarning"),
]


def images():
    return nn.Sequential(
        sl.SparseConv2d(3, 4, 3, padding=1, padding_mode="reflect", sparsity=0.5),
        sl.KWinners2d(0.5, features=4),
        nn.Flatten(),
        sl.SparseLinear(36, 5, sparsity=0.5),
        sl.KWinners(0.5, features=5),
    ).eval()


X = torch.randn(2, 3, 3, 3, generator=torch.Generator().manual_seed(0))


def hooked():
    """Hooks of layers are drawn, once."""
    model = images()
    for number in (0, 3):
        model[number].register_forward_hook(lambda module, inputs, y: y * 2)
    return model


MODELS = {
    "a model": (images, X),
    "with hooks": (hooked, X),
    "a linear layer alone": (lambda: sl.SparseLinear(36, 5), X.flatten(1).repeat(1, 2)[:, :36]),
    "a convolution alone": (lambda: sl.SparseConv2d(3, 4, 2, bias=False), X),
}


@pytest.mark.parametrize("name", MODELS)
def test_symbolic_trace(name):
    build, x = MODELS[name]
    model = build()
    graph = torch.fx.symbolic_trace(model)
    graph.graph.lint()
    # Types are written as text there, which not every release can pickle.
    assert not any(node.type for node in graph.graph.nodes)
    for module in (graph, copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        torch.testing.assert_close(module(x), model(x))
    torch.testing.assert_close(dict(graph.named_parameters()), dict(model.named_parameters()))
    graph(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_layers_are_nodes_as_those_of_torch_are():
    nodes = torch.fx.symbolic_trace(images()).graph.nodes
    assert [n.target for n in nodes if n.op == "call_module"] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("name", MODELS)
def test_graphs_follow_what_their_layers_are_connected_by(name):
    build, x = MODELS[name]
    model = build()
    graph = torch.fx.symbolic_trace(model)
    for layer in model.modules():
        if isinstance(layer, sl.SparseLinear | sl.SparseConv2d):
            half = torch.arange(layer.weights.numel()) % 2 == 0
            sl.prune.remove_connections(layer, half)
    torch.testing.assert_close(graph(x), model(x))


@pytest.mark.parametrize("name", MODELS)
def test_jit_trace(name):
    """Without a warning, but for k-winners, which look at the size of what they are given."""
    build, x = MODELS[name]
    model = build()
    if isinstance(model, nn.Sequential):
        model[1] = model[4] = nn.ReLU()
    traced = torch.jit.trace(model, (x,))
    torch.testing.assert_close(traced(2 * x), model(2 * x))
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    torch.testing.assert_close(torch.jit.load(file)(2 * x), model(2 * x))
    traced(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())

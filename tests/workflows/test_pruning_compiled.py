"""Pruning inside a compiled model: right gradients, and an end to compiling."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import sparselayers as sl
from sparselayers import resizing

# The compiler looks at it of what goes from one graph to the next.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")


class Network(nn.Module):
    """Sparse layers of both kinds, more than the compiler's limit, among dense ones."""

    def __init__(self, depth):
        super().__init__()
        self.conv = sl.SparseConv2d(1, 4, 3, sparsity=0.1)
        self.first = nn.Linear(64, 16)
        self.layers = nn.ModuleList(sl.SparseLinear(16, 16, sparsity=0.1) for _ in range(depth))

    def forward(self, x):
        x = F.relu(self.conv(x)).flatten(1)
        x = self.first(x)
        for layer in self.layers:
            x = F.relu(layer(x)) + x
        return x


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()
    # What is left out of graphs stays so for the process, which has other tests.
    for kind in (sl.SparseLinear, sl.SparseConv2d):
        torch._dynamo.eval_frame.reset_code(kind.forward.__code__)
    resizing._leave_alone.cache_clear()


def train(depth, steps, *, compiles_at_most, **options):
    """Train with a pruner, eagerly and compiled; every loss and gradient must agree."""
    torch.manual_seed(0)
    counter = CompileCounterWithBackend("aot_eager")
    models = [Network(depth), Network(depth)]
    models[1].load_state_dict(models[0].state_dict())
    used = [models[0], torch.compile(models[1], backend=counter, **options)]
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.01, momentum=0.9) for m in models]
    schedule = sl.Gradual(final=0.9, initial=0.1, stop_after=steps - 4, update_every=1)
    pruners = [sl.Pruner(m, o, schedule) for m, o in zip(models, optimizers, strict=True)]
    counts = []
    for _ in range(steps):
        x = torch.randn(8, 1, 6, 6)
        losses = [use(x).square().mean() for use in used]
        torch.testing.assert_close(*losses)
        for optimizer, loss in zip(optimizers, losses, strict=True):
            optimizer.zero_grad()
            loss.backward()
        for mine, its in zip(*(m.parameters() for m in models), strict=True):
            torch.testing.assert_close(mine.grad, its.grad, rtol=1e-4, atol=1e-5)
        for optimizer, pruner in zip(optimizers, pruners, strict=True):
            optimizer.step()
            pruner.step()
        counts.append(counter.frame_count)
    assert counts[-1] <= compiles_at_most
    assert counts[6] == counts[-1]


def test_it_is_compiled_for_two_sizes_and_then_around_the_layers():
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        train(10, 16, compiles_at_most=2 + 13)


def test_one_graph_for_all_sizes_where_parameters_may_have_any():
    with torch._dynamo.config.patch(
        force_parameter_static_shapes=False, fail_on_recompile_limit_hit=True
    ):
        train(3, 12, compiles_at_most=4, fullgraph=True)


@pytest.mark.parametrize("strict", [True, False])
def test_exported_after_each_pruning_it_is_part_of_the_program(strict):
    model, x = Network(1), torch.randn(8, 1, 6, 6)
    for sparsity in (0.2, 0.3, 0.4, 0.5):
        sl.prune.prune_to_sparsity(model, sparsity)
        program = torch.export.export(model, (x,), strict=strict)
        torch.testing.assert_close(program.module()(x), model(x))


def test_pruned_once_it_is_one_graph():
    model = Network(2)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    x = torch.randn(8, 1, 6, 6)
    compiled(x)
    sl.prune.prune_to_sparsity(model, 0.7)
    torch.testing.assert_close(compiled(x), model(x))

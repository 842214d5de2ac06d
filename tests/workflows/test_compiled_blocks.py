"""Blocks that are alike, each compiled by itself: one program, and the connections of each."""

import copy

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import sparselayers as sl
from sparselayers.layer import SparseLayer

BLOCKS = 10  # more than the compiler makes programs of one function
MESSAGE = "modified by an inplace operation"

# The compiler looks at it of what goes from one graph to the next.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")


class FeedForward(nn.Module):
    """The half of a transformer's block that is sparse."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = sl.SparseLinear(width, 2 * width, sparsity=0.5)
        self.down = sl.SparseLinear(2 * width, width, sparsity=0.5)

    def forward(self, x):
        return x + self.down(self.up(self.norm(x)).relu())


class Convolved(nn.Module):
    """A block of a residual network."""

    def __init__(self, channels):
        super().__init__()
        self.conv = sl.SparseConv2d(channels, channels, 3, padding=1, sparsity=0.5)

    def forward(self, x):
        return x + self.conv(x.relu())


KINDS = {FeedForward: (12, (4, 12)), Convolved: (3, (2, 3, 6, 6))}


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        yield
    torch.compiler.reset()


@pytest.fixture(params=KINDS)
def blocks(request):
    """Blocks as they are, the same compiled one by one, an input, and a counter of programs."""
    width, shape = KINDS[request.param]
    plain = nn.Sequential(*(request.param(width) for _ in range(BLOCKS)))
    own = copy.deepcopy(plain)
    counter = CompileCounterWithBackend("aot_eager")
    for block in own:
        block.compile(backend=counter, fullgraph=True)
    return plain, own, torch.randn(shape), counter


def connect(block, like):
    """Connect a block as another one is."""
    for module, other in zip(block.modules(), like.modules(), strict=True):
        if isinstance(module, SparseLayer):
            module.set_connections(other.connectivity, other.weights.detach())


def gradients(model, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).square().sum(), [x, *model.parameters()])


def test_they_share_a_program(blocks):
    plain, own, x, counter = blocks
    with torch.no_grad():
        torch.testing.assert_close(own(x), plain(x))
    assert counter.frame_count == 1
    torch.testing.assert_close(gradients(own, x), gradients(plain, x))
    assert counter.frame_count == 2  # with gradients


def test_one_that_is_connected_anew_is_computed_anew_and_no_other(blocks):
    plain, own, x, counter = blocks
    gradients(own, x)
    count = counter.frame_count
    for model in (plain, own):
        connect(model[3], plain[0])
    torch.testing.assert_close(gradients(own, x), gradients(plain, x))
    loss = own(x.requires_grad_()).square().sum()
    connect(own[5], plain[0])
    with pytest.raises(RuntimeError, match=MESSAGE):
        loss.backward()
    assert counter.frame_count == count

"""Memory that the C++ kernels work in: an error where there is none, given back where it is large.

Each script runs in a process of its own, whose memory is limited or watched.
"""

import sys

import pytest

from sparselayers.backends import BACKENDS
from tests import fresh

pytestmark = [
    pytest.mark.skipif(
        BACKENDS["native"].unavailable() is not None, reason="the C++ kernels were not built"
    ),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

_COMMON = """
import gc, resource, torch
import sparselayers as sl
from sparselayers.backends import BACKENDS

def status(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))

def limit(more):
    size = status("VmSize") + more
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))

torch.set_num_threads(1)
native, MB = BACKENDS["native"], 1 << 20
"""

# Two million features of several blocks of a batch: at least 160 MB for one of them, whatever the
# instruction set, while the batch itself is a single row that is there 129 times.
_WIDE = """
features, batch = 2_000_000, 129
connectivity = sl.random((1, features), 0.99999)
values = torch.ones(connectivity.nnz)
x = torch.ones(1, features).expand(batch, features)
dy = torch.ones(batch, 1)
forward = lambda: native.forward(x, values, None, connectivity)
backward = lambda: native.backward(dy, x, values, connectivity, needs=(False, True, False))
"""

_NO_MEMORY = """
native.forward(x[:1], values, None, connectivity)  # whatever is allocated once
limit(100 * MB)
try:
    {call}()
except MemoryError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert {call}() is not None  # nothing was left half done
"""

# A single pixel within a million columns of padding, of which one window is taken.
_PLANES = """
side = 1_000_000
layer = sl.SparseConv2d(
    32, 1, (1, 3), padding=(0, side), dilation=(1, side), bias=False, sparsity=0.5
)
x = torch.ones(1, 32, 1, 1)
limit(100 * MB)
try:
    layer(x)
except MemoryError as error:
    print(error)
"""

# Not VmRSS: that counts pages of libraries too, which come when their code runs first.
_GIVEN_BACK = """
before = status("RssAnon")
forward(), backward()
gc.collect()
print(status("RssAnon") - before)
"""

_LIVE_GRAPH = """
layer = sl.SparseLinear(64, 64)
loss = layer(torch.randn(8, 64)).sum()
def step():
    alive = layer(torch.randn(8, 64)).sum()
    {end}
try:
    step()
except ValueError as error:
    import sys
    sys.last_exc = error  # as an interactive session keeps it
raise RuntimeError("the end")
"""

_SCRIPTS = {
    **{call: _WIDE + _NO_MEMORY.format(call=call) + fresh.OVER for call in ("forward", "backward")},
    "planes": _PLANES + fresh.OVER,
    "given back": _WIDE + _GIVEN_BACK + fresh.OVER,
    "SystemExit": _LIVE_GRAPH.format(end="raise SystemExit(0)"),
    "ValueError": _LIVE_GRAPH.format(end="raise ValueError('of the script')"),
}


@pytest.fixture(scope="module")
def said():
    """What each script said. All blocks are mapped by themselves, and so given back when freed."""
    told = fresh.each(_COMMON, _SCRIPTS.values())
    return dict(zip(_SCRIPTS, told, strict=True))


@pytest.mark.parametrize("call", ["forward", "backward"])
def test_no_memory_for_a_block_is_an_error_that_names_the_size(call, said):
    status, out, err = said[call]
    assert status == 0, err
    size = next(int(word) for word in out.split() if word.isdigit())
    assert size > 100 << 20


def test_no_memory_for_planes_of_a_convolution_is_an_error(said):
    status, out, err = said["planes"]
    assert status == 0, err
    assert "bytes of memory" in out


def test_memory_of_wide_layers_is_given_back(said):
    status, out, err = said["given back"]
    assert status == 0, err
    assert int(out) < 40 << 20


@pytest.mark.parametrize(("end", "ended"), [("SystemExit", 0), ("ValueError", 1)])
def test_a_script_that_ends_with_a_live_graph_says_nothing_of_leaks(end, ended, said):
    status, _, err = said[end]
    assert status == ended
    assert "nanobind" not in err

"""The C++ kernels against the reference, for every instruction set that this CPU has."""

import os
import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import sparselayers as sl
from sparselayers.backends import BACKENDS, native
from sparselayers.backends.native import library
from tests import fresh, instruction_sets
from tests.sparselayers.ways import by_dense

pytestmark = pytest.mark.skipif(
    BACKENDS["lanes"].unavailable() is not None, reason="the C++ kernels were not built"
)


def problem(shape, density, batch, dtype=torch.float32, *, feature_major=False):
    """A connectivity with empty rows and columns, and all that the products take."""
    generator = torch.Generator().manual_seed(batch)
    mask = torch.rand(shape, generator=generator) < density
    if shape[0] > 4:
        mask[::5] = False
    if shape[1] > 4:
        mask[:, 3::7] = False
    mask[-1, 0] = True
    connectivity = sl.from_mask(mask)
    values = torch.randn(connectivity.nnz, generator=generator, dtype=dtype)
    bias = torch.randn(shape[0], generator=generator, dtype=dtype)
    x = torch.randn(batch, shape[1], generator=generator, dtype=dtype)
    dy = torch.randn(batch, shape[0], generator=generator, dtype=dtype)
    if feature_major:
        x, dy = x.t().contiguous().t(), dy.t().contiguous().t()
    return connectivity, values, bias, x, dy


def expected(connectivity, values, bias, x, dy):
    """All products, by the dense weight where that is small: the reference takes far longer."""
    out_features, in_features = connectivity.shape
    if out_features * in_features > 1 << 25:
        oracle = BACKENDS["reference"]
        y = oracle.forward(x, values, bias, connectivity)
        return y, *oracle.backward(dy, x, values, connectivity, needs=(True, True, True))
    return by_dense(connectivity, values, bias, x, dy)


def check(connectivity, values, bias, x, dy):
    ours = BACKENDS["lanes"]
    arranged = ours.arrange(x, connectivity)
    y, *gradients = expected(connectivity, values, bias, x, dy)
    found = ours.backward(dy, arranged, values, connectivity, needs=(True, True, True))
    torch.testing.assert_close(arranged, x, rtol=0, atol=0)
    torch.testing.assert_close(ours.forward(arranged, values, bias, connectivity), y)
    scale = max(1.0, x.shape[0] ** 0.5)
    for ours_, theirs in zip(found, gradients, strict=True):
        torch.testing.assert_close(ours_ / scale, theirs / scale)


@pytest.mark.parametrize("feature_major", [False, True])
@pytest.mark.parametrize("batch", [0, 1, 2, 3, 7, 8, 9, 16, 17, 63, 65, 128, 130, 300])
@pytest.mark.parametrize("shape", [(23, 31), (1, 300), (300, 1), (70, 129)])
def test_matches_the_reference(shape, batch, feature_major):
    check(*problem(shape, 0.3, batch, feature_major=feature_major))


@pytest.mark.parametrize("batch", [1, 4, 5, 8, 13, 16])
@pytest.mark.parametrize(
    ("shape", "connections"), [((120, 140_000), 10_000), ((140_000, 140_000), 3)]
)
def test_matches_the_reference_where_features_are_fetched_in_advance(
    shape, connections, batch, threads
):
    """So many features that those of connections to come are prefetched, those of the last too.

    Of long rows both gradients come from one pass, of short ones they do not.
    """
    generator = torch.Generator().manual_seed(batch)
    connectivity = sl.random(shape, 1 - connections / shape[1], generator=generator)
    values = torch.randn(connectivity.nnz, generator=generator) / connections
    # As small as the sums of products, or each of 10,000 additions would be rounded to its digits.
    bias = torch.randn(shape[0], generator=generator) / 100
    x = torch.randn(batch, shape[1], generator=generator)
    threads(1)  # with more, too few connections for one pass
    check(connectivity, values, bias, x, torch.randn(batch, shape[0], generator=generator))


def uneven(turned, batch):
    """Two rows with a fifth of all connections each, side by side and at the end, or columns."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(60, 10_000, generator=generator) < 0.05
    mask[::3] = False
    mask[[-2, -1]] = True
    connectivity = sl.from_mask(mask.t() if turned else mask)
    out_features, in_features = connectivity.shape
    values = torch.randn(connectivity.nnz, generator=generator).double()
    bias = torch.randn(out_features, generator=generator).double()
    x, dy = (torch.randn(batch, n, generator=generator) for n in (in_features, out_features))
    return connectivity, values, bias, x.double(), dy.double()


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 3, 16, 20, 130])
@pytest.mark.parametrize("turned", [False, True], ids=["rows", "columns"])
def test_matches_the_reference_where_threads_share_out_rows(turned, batch, number, threads):
    threads(number)
    check(*uneven(turned, batch))


@pytest.mark.parametrize("number", [2, 3, 4])
@pytest.mark.parametrize("batch", [24, 32, 40, 70, 100, 128, 129, 257, 300, 385, 550])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_matches_the_reference_where_threads_have_blocks_of_their_own(
    dtype, batch, number, threads
):
    threads(number)
    check(*problem((300, 200), 0.15, batch, dtype))


@pytest.mark.parametrize("batch", [64, 300])
@pytest.mark.parametrize("needs", [(True, False, False), (False, True, False), (False, True, True)])
def test_each_gradient_alone_where_threads_have_blocks_of_their_own(needs, batch, threads):
    threads(2)
    case = problem((300, 200), 0.15, batch)
    connectivity, values, _, x, dy = case
    found = BACKENDS["lanes"].backward(dy, x, values, connectivity, needs=needs)
    for wanted, ours, theirs in zip(needs, found, expected(*case)[1:], strict=True):
        assert (ours is not None) == wanted
        if wanted:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("batch", [1, 20])
@pytest.mark.parametrize("turned", [False, True], ids=["rows", "columns"])
def test_bfloat16_rounds_once_where_threads_share_out_rows(turned, batch, threads):
    threads(2)
    connectivity, *rest = uneven(turned, batch)
    kept = [tensor.bfloat16() for tensor in rest]
    exact = expected(connectivity, *(tensor.double() for tensor in kept))
    half = 2.0**-8  # of the last of eight bits; what float32 adds to it shows where sums are small
    for ours, theirs in zip(products(connectivity, *kept), exact, strict=True):
        torch.testing.assert_close(
            ours.double(), theirs, rtol=half, atol=1e-5 * float(theirs.abs().max())
        )


def test_matches_the_reference_where_tiles_of_a_row_are_empty():
    """A tenth of the rows is full, which makes many tiles; the others have a few or none."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(700, 1000, generator=generator) < 0.002
    mask[::10] = True
    mask[1::10] = False
    connectivity = sl.from_mask(mask)
    values, bias = (torch.randn(n, generator=generator).double() for n in (connectivity.nnz, 700))
    x, dy = (torch.randn(100, n, generator=generator).double() for n in (1000, 700))
    check(connectivity, values, bias, x, dy)


@pytest.mark.parametrize("batch", [1, 3])
def test_matches_the_reference_where_the_last_tile_of_a_row_is_empty(batch):
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(40_000, 60, generator=generator) < 0.002
    mask[20_000:, ::2] = False
    connectivity = sl.from_mask(mask)
    values = torch.randn(connectivity.nnz, generator=generator)
    dy = torch.randn(batch, 40_000, generator=generator)
    ours, oracle = BACKENDS["lanes"], BACKENDS["reference"]
    torch.testing.assert_close(
        ours.grad_input(dy, values, connectivity), oracle.grad_input(dy, values, connectivity)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("single", [False, True], ids=["gathers", "loads"])
def test_matches_the_reference_with_gathers_and_with_single_loads(single, dtype):
    """Which of both a batch of one uses depends on the CPU."""
    before = library.kernels.use_single_loads(single)
    try:
        check(*problem((400, 300), 0.3, 1, dtype))
        check(*problem((40, 13), 0.5, 1, dtype))
    finally:
        assert library.kernels.use_single_loads(before) == single


@pytest.mark.slow
@pytest.mark.parametrize("name", library.INSTRUCTION_SETS)
def test_every_instruction_set(name):
    chosen = "matches or nan or behind or types or bfloat16"
    instruction_sets.run(__file__, name, chosen)


def test_an_unknown_instruction_set_is_named(monkeypatch):
    monkeypatch.setenv("SPARSEBENCH_ISA", "mmx")
    with pytest.raises(ValueError, match="SPARSEBENCH_ISA=mmx: choose one of scalar, avx2, avx512"):
        native.isa()


def products(connectivity, values, bias, x, dy):
    """All that the backend returns, in one tuple."""
    ours = BACKENDS["lanes"]
    y = ours.forward(ours.arrange(x, connectivity), values, bias, connectivity)
    return y, *ours.backward(
        dy, ours.arrange(x, connectivity), values, connectivity, needs=(True, True, True)
    )


@pytest.mark.parametrize("batch", [1, 5, 16, 40, 128, 200, 700])
def test_same_bits_again_and_nearly_the_same_with_other_threads(threads, batch):
    case = problem((700, 900), 0.2, batch)
    threads(2)
    first, again = products(*case), products(*case)
    threads(1)
    alone = products(*case)
    for one, same, other in zip(first, again, alone, strict=True):
        assert torch.equal(one, same)
        scale = one.abs().max()
        torch.testing.assert_close(other / scale, one / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 8, 16, 33, 128, 300])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types(dtype, batch):
    connectivity, values, bias, x, dy = problem((40, 50), 0.3, batch, dtype)
    if dtype == torch.float64:
        check(connectivity, values, bias, x, dy)
        return
    found = products(connectivity, values, bias, x, dy)
    wide = products(connectivity, values.float(), bias.float(), x.float(), dy.float())
    for ours, theirs in zip(found, wide, strict=True):
        assert ours.dtype == dtype
        assert torch.equal(ours, theirs.to(dtype))


def test_bfloat16_keeps_no_copies_in_float32_of_the_connections():
    connectivity = sl.random((1000, 2000), 0.5)
    values = torch.randn(connectivity.nnz).bfloat16()
    x, dy = torch.randn(16, 2000).bfloat16(), torch.randn(16, 1000).bfloat16()
    products(connectivity, values, None, x, dy)  # caches the transpose
    with _Allocations() as allocated:
        products(connectivity, values, None, x, dy)
    assert 0 < allocated.bytes < connectivity.nnz * 4


def test_bfloat16_rounds_as_pytorch_does():
    # y = x for a single connection of weight 1, so that only the rounding of the result is left.
    connectivity = sl.from_edges(torch.tensor([[0], [0]]), (1, 1))
    bits = torch.tensor([0x7F7F, 0x0001, 0x8000, 0x7F80, 0xFF80, 0x3F80, 0x3F81, 0x7FC0])
    x = bits.to(torch.int16).view(torch.bfloat16)[:, None]
    w = torch.tensor([1.0039]).bfloat16()
    y = BACKENDS["lanes"].forward(x, w, None, connectivity)
    expected = (x.float() * w.float()).bfloat16()
    torch.testing.assert_close(y, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("batch", [1, 4, 20, 130])
def test_matches_the_reference_with_indices_of_64_bits(batch):
    narrow, *rest = problem((60, 70), 0.2, batch)
    check(sl.Connectivity(narrow.shape, narrow.row_ptr.long(), narrow.col.long()), *rest)


@pytest.mark.parametrize("batch", [1, 4, 20, 130])
@pytest.mark.parametrize("features", [1 << 16, (1 << 16) + 1])
@pytest.mark.parametrize("turned", [False, True], ids=["rows", "columns"])
def test_matches_the_reference_where_16_bits_just_suffice(turned, features, batch):
    """The first feature, the last, and the places of a row that has them all."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(5, features, generator=generator) < 0.001
    mask[0] = False
    mask[[1, 3], -1] = True
    mask[2] = True
    connectivity = sl.from_mask(mask.t() if turned else mask)
    sizes = ((connectivity.nnz,), (connectivity.shape[0],), *((batch, n) for n in mask.shape))
    values, bias, *ends = (torch.randn(size, generator=generator).double() for size in sizes)
    check(connectivity, values, bias, *(ends if turned else reversed(ends)))


def test_matches_the_reference_where_products_take_the_blocks_of_a_batch_apart():
    """More connections than caches hold together with their values and gradients."""
    check(*problem((680, 900), 1.0, 130, torch.float64))


@pytest.mark.parametrize("batch", [1, 6, 50])
def test_one_full_row_among_empty_ones(batch):
    mask = torch.zeros(50, 3000, dtype=torch.bool)
    mask[7] = True
    connectivity = sl.from_mask(mask)
    generator = torch.Generator().manual_seed(0)
    check(
        connectivity,
        *(torch.randn(size, generator=generator).double() for size in (3000, 50)),
        *(torch.randn(batch, size, generator=generator).double() for size in (3000, 50)),
    )


@pytest.mark.parametrize("batch", [1, 3, 17, 130])
def test_nan_and_infinity_reach_what_is_connected_and_nothing_else(batch):
    connectivity = sl.from_edges(torch.tensor([[0, 0, 2], [0, 3, 1]]), (3, 4))
    values, bias = torch.ones(3), torch.zeros(3)
    x, dy = torch.zeros(batch, 4), torch.zeros(batch, 3)
    x[-1, 3], dy[-1, 2] = float("nan"), float("inf")
    y, dx, dvalues, _ = products(connectivity, values, bias, x, dy)
    assert y[-1, 0].isnan()
    assert y.isnan().sum() == 1
    assert dx[-1, 1].isinf()
    assert dx.isfinite().sum() == dx.numel() - 1
    # 0 · nan and inf · 0, as in the dense product.
    assert dvalues.isnan().tolist() == [False, True, True]


@pytest.mark.parametrize("batch", [3, 13, 77, 200])
def test_what_lies_behind_the_batch_does_not_matter(batch):
    connectivity, values, bias, x, dy = problem((30, 40), 0.3, batch)
    room = torch.full((41, 256), float("nan"))
    room[:40, :batch] = x.t()
    for ours, theirs in zip(
        products(connectivity, values, bias, room[:40, :batch].t(), dy),
        products(connectivity, values, bias, x, dy),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


def test_one_openmp_runtime_and_denormals_stay():
    # In a process of its own, for other tests bring other libraries.
    script = """
import torch, threadpoolctl, sparselayers as sl
torch.ones(64, 64) @ torch.ones(64, 64)
layer = sl.SparseLinear(300, 300, sparsity=0.5)
layer(torch.randn(64, 300)).sum().backward()
openmp = [i for i in threadpoolctl.threadpool_info() if i["user_api"] == "openmp"]
assert len(openmp) == 1, openmp
assert torch.tensor([1e-40]).mul(1.0).item() != 0
"""
    fresh.one(script)


@pytest.mark.parametrize("structure", ["unstructured", "8x1"])
@pytest.mark.parametrize("batch", [64, 520])
def test_fewer_threads_than_were_asked_for_leave_nothing_out(batch, structure):
    # In a process of its own, for OpenMP looks at the limit when it starts.
    script = f"""
import torch
from sparselayers.backends import BACKENDS
from sparselayers.structures import named
from tests.sparselayers.ways import by_dense
torch.set_num_threads(4)
connectivity = named({structure!r}).draw((320, 200), 0.8, generator=torch.Generator())
values, bias = torch.randn(connectivity.nnz), torch.randn(320)
x, dy = torch.randn({batch}, 200), torch.randn({batch}, 320)
way = BACKENDS["lanes" if {structure!r} == "unstructured" else "row_blocks"]
for _ in range(3):  # what lies in memory that is used again would be added
    y = way.forward(x, values, bias, connectivity)
    found = y, *way.backward(dy, x, values, connectivity, needs=(True, True, True))
for ours, theirs in zip(found, by_dense(connectivity, values, bias, x, dy), strict=True):
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
"""
    limited = os.environ | {"OMP_THREAD_LIMIT": "2"}
    subprocess.run([sys.executable, "-c", script], env=limited, check=True)


class _Allocations(TorchDispatchMode):
    """Counts the bytes of every new tensor."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.new_empty, torch.ops.aten.empty):
            self.bytes += result.numel() * result.element_size()
        return result


@pytest.mark.parametrize("batch", [1, 3, 8, 9, 12, 16])
@pytest.mark.parametrize("connections", [1, 2, 4, 30])
def test_the_backward_pass_takes_12_bytes_a_connection_at_most(batch, connections, threads):
    threads(2)
    features, outputs = 2000, 400
    connectivity = sl.random((outputs, features), 1 - connections / outputs)
    values = torch.randn(connectivity.nnz)
    x, dy = torch.randn(batch, features), torch.randn(batch, outputs)
    ours = BACKENDS["lanes"]
    x = ours.arrange(x, connectivity)
    ours.backward(dy, x, values, connectivity, needs=(True, True, True))  # caches the transpose
    with _Allocations() as allocated:
        ours.backward(dy, x, values, connectivity, needs=(True, True, True))
    lanes = -(-batch // 16) * 16
    activations = 4 * lanes * (2 * features + 2 * outputs) + 4 * outputs
    assert allocated.bytes > 0
    assert allocated.bytes <= connectivity.nnz * (4 + 12) + activations

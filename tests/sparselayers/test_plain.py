"""The short way of plain calls, of a few rows and of one block: the same answers, where so."""

import weakref

import pytest
import torch
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

import sparselayers as sl
from sparselayers import plain
from sparselayers.backends import BACKENDS, plan
from sparselayers.backends.native import few, few_bitmaps, one_block, short_choice
from sparselayers.backends.native.bits import bitmap_of
from sparselayers.backends.native.rows import rows_of
from sparselayers.functional import sparse_linear


def layer_of(**options):
    return sl.SparseLinear(
        12, 9, sparsity=0.5, generator=torch.Generator().manual_seed(0), **options
    )


def rows(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def shortly(layer, x):
    """What the short way answers."""
    mark = layer.topology_id
    return plain.product(x, layer.weights, layer.bias, layer._connections, mark, layer.backend)


def gradients(layer, y, x):
    leaves = [x, layer.weights, *([] if layer.bias is None else [layer.bias])]
    return torch.autograd.grad(y, leaves, torch.ones_like(y).cumsum(1))


@pytest.mark.parametrize("batch", [0, 1, 2, 8, 20, 130])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_answers_as_the_long_way_does(batch, bias, dtype):
    layer, x = layer_of(bias=bias, dtype=dtype), rows(batch, 12, dtype=dtype).requires_grad_()
    long = sparse_linear(x, layer.weights, layer.bias, layer.connectivity)
    short = shortly(layer, x)
    assert torch.equal(short, long)
    assert torch.equal(layer(x), long)
    for ours, theirs in zip(gradients(layer, short, x), gradients(layer, long, x), strict=True):
        assert torch.equal(ours, theirs)
    with torch.no_grad():
        assert torch.equal(shortly(layer, x), long)
        assert torch.equal(layer(x), long)


class Subclass(torch.Tensor):
    pass


class Watcher:
    def enter(self, x):
        return x

    def leave(self, x, weights, y):
        pass


def strided(layer):
    layer.weights.data = torch.stack((layer.weights.data,) * 2, 1)[:, 0]


def two_columns(layer):
    layer.weights.data = layer.weights.data[:, None]


def fewer_weights(layer):
    layer.weights.data = layer.weights.data[:-1].clone()


def fewer_biases(layer):
    layer.bias.data = layer.bias.data[:-1].clone()


def other_type(layer):
    layer.bias.data = layer.bias.data.double()


def watched(layer):
    layer._connections.watcher = Watcher()


def held(layer):
    layer.kept = [layer.col]


def written_mark(layer):
    layer.topology_id.add_(0)


class Copied(torch.nn.Module):
    def forward(self, bias):
        return bias.clone()


def parametrized(layer):
    parametrize.register_parametrization(layer, "bias", Copied())


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (strided, True),
        (two_columns, False),
        (fewer_weights, False),
        (fewer_biases, False),
        (other_type, False),
        (watched, True),
        (held, True),
        (written_mark, True),
        (parametrized, True),
    ],
)
def test_layers_that_are_not_plain(change, same):
    layer, x = layer_of(), rows(1, 12)
    expected = layer(x)
    change(layer)
    assert shortly(layer, x) is None
    if same:
        assert torch.equal(layer(x), expected)
    else:
        with pytest.raises(RuntimeError, match="expected"):
            layer(x)


@pytest.mark.parametrize(
    "x",
    [
        rows(12),
        rows(2, 3, 12),
        rows(3, 11),
        rows(3, 12, dtype=torch.float64),
        rows(3, 12).as_subclass(Subclass),
        torch.zeros(3, 12, device="meta"),
        torch.view_as_complex(rows(3, 12, 2)).conj().imag,
    ],
    ids=["vector", "sequence", "width", "type", "subclass", "meta", "negative"],
)
def test_inputs_that_are_not_plain(x):
    assert shortly(layer_of(), x) is None


def test_negative_views_are_what_they_stand_for():
    layer, x = layer_of(), torch.view_as_complex(rows(3, 12, 2)).conj().imag
    assert x.is_neg()
    assert torch.equal(layer(x), layer(x.clone().contiguous()))


# PyTorch scripts formulas of its own when it first differentiates forward.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_nobody_who_transforms_traces_or_casts_is_passed_by():
    layer, x = layer_of(), rows(1, 12)
    seen = []

    def look(x):
        seen.append(shortly(layer, x))
        return layer(x).sum()

    torch.func.grad(look)(x)
    torch.func.vmap(look)(x[None])
    with forward_ad.dual_level():
        look(forward_ad.make_dual(x, x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        look(x)
    with FlopCounterMode(display=False):
        look(x)
    assert seen == [None] * 5


needs_kernels = pytest.mark.skipif(
    BACKENDS["lanes"].unavailable() is not None, reason="the C++ kernels were not built"
)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}


@needs_kernels
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    ("shape", "sparsity"),
    [
        ((9, 12), 0.8),
        ((300, 700), 0.8),
        ((63, 63), 0.99),  # fewer connections than inputs: took 1.5 times as long as at 90%
        ((1, 1), 0.0),
        ((5, 1), 0.0),
        ((1, 5), 0.0),
    ],
)
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_a_few_rows_by_the_kernels(shape, sparsity, dtype, number, threads):
    """Every batch that is served so, laid out in every way, and each choice of gradients."""
    threads(number)
    where = sl.random(shape, sparsity, generator=torch.Generator().manual_seed(2))
    values, bias = rows(where.nnz).to(dtype) / 10, rows(shape[0]).to(dtype)
    served = [batch for batch in range(20) if few.is_small(batch, where, dtype)]
    assert served[0] == 1
    assert max(served) <= few.MOST
    near = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    for batch in served:
        short, oracle = few.Few(batch, where, dtype), BACKENDS["reference"]
        whole = rows(batch, 2 * shape[1]).to(dtype)
        turned = whole[:, : shape[1]].t().contiguous().t()
        for x in (whole[:, : shape[1]], whole[:, ::2], turned):
            dy = rows(batch, shape[0]).to(dtype)
            for given in (bias, None):
                y = short.forward(x, values, given, where)
                torch.testing.assert_close(y, oracle.forward(x, values, given, where), **near)
            for chosen in range(1, 8):
                needs = bool(chosen & 1), bool(chosen & 2), bool(chosen & 4)
                found = short.backward(dy, x, values, where, needs=needs)
                expected = oracle.backward(dy, x, values, where, needs=needs)
                for ours, theirs in zip(found, expected, strict=True):
                    torch.testing.assert_close(ours, theirs, **near)


@needs_kernels
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("shape", [(9, 12), (300, 700), (1, 1), (5, 1), (1, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_one_block_by_the_kernels(shape, dtype, number, threads):
    """As a few rows are tried; what is arranged is taken as it is, and what is not is arranged."""
    threads(number)
    sparsity = 0.0 if min(shape) == 1 else 0.8
    where = sl.random(shape, sparsity, generator=torch.Generator().manual_seed(2))
    values, bias = rows(where.nnz, dtype=dtype) / 10, rows(shape[0], dtype=dtype)
    served = [batch for batch in (8, 16, 24, 32, 64, 128) if one_block.is_one_block(batch, dtype)]
    assert served
    near = {"rtol": 1e-4, "atol": 1e-4}
    for batch in served:
        short, oracle = one_block.OneBlock(batch, where, dtype), BACKENDS["reference"]
        whole = rows(batch, 2 * shape[1], dtype=dtype)
        row_major = whole[:, : shape[1]]
        arranged = short.arrange(row_major, where)
        assert torch.equal(arranged, row_major)
        assert short.arrange(arranged, where) is arranged
        dy = rows(batch, shape[0], dtype=dtype)
        for x in (row_major, arranged, whole[:, ::2]):
            for given in (bias, None):
                y = short.forward(x, values, given, where)
                torch.testing.assert_close(y, oracle.forward(x, values, given, where), **near)
        for given, x in ((dy, arranged), (dy.t().contiguous().t(), row_major)):
            for chosen in range(1, 8):
                needs = bool(chosen & 1), bool(chosen & 2), bool(chosen & 4)
                found = short.backward(given, x, values, where, needs=needs)
                expected = oracle.backward(dy, x, values, where, needs=needs)
                for ours, theirs in zip(found, expected, strict=True):
                    torch.testing.assert_close(ours, theirs, **near)


@needs_kernels
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("shape", [(9, 12), (67, 200), (1, 1), (5, 1), (1, 5), (40, 2500)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_few_rows_by_bitmaps(shape, dtype, number, threads):
    """As a few rows are tried; where threads share rows, and where columns are taken by parts."""
    threads(number)
    sparsity = 0.0 if min(shape) == 1 else 0.5
    where = sl.random(shape, sparsity, generator=torch.Generator().manual_seed(2))
    values, bias = rows(where.nnz).to(dtype) / 10, rows(shape[0]).to(dtype)
    near = {"rtol": TOLERANCE[dtype], "atol": 10 * TOLERANCE[dtype]}
    for batch in (1, 2, 3, 4):
        short, oracle = few_bitmaps.FewBitmaps(batch, where, dtype), BACKENDS["reference"]
        short._threads = number  # of however small a layer
        whole = rows(batch, 2 * shape[1]).to(dtype)
        dy = rows(batch, shape[0]).to(dtype)
        one = dy[:1, :1].expand_as(dy)
        turned = whole[:, : shape[1]].t().contiguous().t()
        for x, above in ((whole[:, : shape[1]], dy), (whole[:, ::2], one), (turned, dy)):
            for given in (bias, None):
                y = short.forward(x, values, given, where)
                torch.testing.assert_close(y, oracle.forward(x, values, given, where), **near)
            for chosen in range(1, 8):
                needs = bool(chosen & 1), bool(chosen & 2), bool(chosen & 4)
                found = short.backward(above, x, values, where, needs=needs)
                expected = oracle.backward(above, x, values, where, needs=needs)
                for ours, theirs in zip(found, expected, strict=True):
                    torch.testing.assert_close(ours, theirs, **near)


@needs_kernels
@pytest.mark.parametrize("number", [1, 2])
def test_nothing_beside_the_gradients_of_a_few_rows_is_written(number):
    """Threads write whole registers, but not into what others have written."""
    where = sl.random((64, 100), 0.4, generator=torch.Generator().manual_seed(2))
    short = few_bitmaps.FewBitmaps(1, where, torch.float32)
    short._threads = number
    values, x, dy = rows(where.nnz), rows(1, 100), rows(1, 64)
    needs = (True, True, True)
    expected = BACKENDS["reference"].backward(dy, x, values, where, needs=needs)
    room = [torch.full((tensor.numel() + 80,), 7.0) for tensor in expected]
    inner = [
        at[: tensor.numel()].view(tensor.shape) for at, tensor in zip(room, expected, strict=True)
    ]
    short._gradients = lambda values, needs: type(expected)(*inner)
    for ours, theirs in zip(
        short.backward(dy, x, values, where, needs=needs), expected, strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    for at, tensor in zip(room, expected, strict=True):
        assert (at[tensor.numel() :] == 7.0).all()


@needs_kernels
def test_which_calls_are_a_few_rows_or_one_block(threads):
    threads(1)
    native, where = BACKENDS["native"], sl.random((300, 700), 0.9)
    short = native.shortly(rows(1, 700), where)
    assert isinstance(short, few.Few)
    assert native.shortly(rows(1, 700), where) is short
    assert native.shortly(rows(2, 700), where) is not short
    assert native.shortly(rows(0, 700), where) is native
    assert isinstance(native.shortly(rows(32, 700), where), one_block.OneBlock)
    assert native.shortly(rows(31, 700), where) is native
    assert native.shortly(rows(256, 700), where) is native
    assert native.shortly(rows(32, 700).bfloat16(), where) is native
    assert native.shortly(rows(1, 700).half(), where) is native
    assert native.shortly(rows(1, 70_000), sl.random((3, 70_000), 0.9)) is native
    assert native.shortly(rows(1, 5000), sl.random((300, 5000), 0.9995)) is native
    assert isinstance(native.shortly(rows(1, 700), sl.random((300, 700), 0.9995)), few.Few)
    dense = sl.random((64, 64), 0.3, generator=torch.Generator())
    # By costs that are fixed, bitmaps.
    assert isinstance(native.shortly(rows(1, 64), dense), few_bitmaps.FewBitmaps)
    assert not dense.has_derived("native rows")  # memory for what is not computed so
    assert native.shortly(rows(1, 64), dense) is native.shortly(rows(1, 64), dense)
    assert isinstance(native.shortly(rows(1, 64).double(), dense), few.Few)
    for other in ("lanes", "reference"):
        assert BACKENDS[other].shortly(rows(1, 700), where) is BACKENDS[other]


@needs_kernels
def test_a_forward_pass_by_one_way_and_gradients_by_another(monkeypatch, threads):
    threads(1)
    ways = {"y": ("bitmaps",), "backward": ("lanes", "lanes")}
    monkeypatch.setattr(
        short_choice, "choose", lambda product, *_: plan.Choice(ways[product], "as told")
    )
    layer, x = layer_of(), rows(3, 12).requires_grad_()
    assert isinstance(BACKENDS["native"].shortly(x, layer.connectivity), short_choice.Both)
    expected = layer_of(backend="reference")
    y = layer(x)
    torch.testing.assert_close(y, expected(x))
    for ours, theirs in zip(
        gradients(layer, y, x), gradients(expected, expected(x), x), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    ways["backward"] = "lanes", "bitmaps"
    assert short_choice.short_of(3, layer.connectivity, torch.float32) is None
    ways |= {"y": ("lanes",), "backward": ("bitmaps", "bitmaps")}
    where = sl.random((20, 30), 0.5)
    assert isinstance(short_choice.short_of(3, where, torch.float32), short_choice.Both)
    assert short_choice.short_of(64, where, torch.float32) is None


@needs_kernels
@pytest.mark.parametrize(
    ("batch", "sparsity", "kind", "told"),
    [
        (1, 0.9, few.Few, rows_of),
        (64, 0.9, one_block.OneBlock, rows_of),
        (1, 0.3, few_bitmaps.FewBitmaps, bitmap_of),
    ],
)
def test_what_a_graph_computes_with_outlives_that_its_connections_forget_it(
    batch, sparsity, kind, told, threads
):
    """A rewiring forgets what was derived, and leaves layers as they are that do not change."""
    threads(1)
    layer, x = sl.SparseLinear(64, 64, sparsity=sparsity), rows(batch, 64).requires_grad_()
    assert isinstance(BACKENDS["native"].shortly(x, layer.connectivity), kind)
    y = layer(x)
    expected = gradients(layer, layer(x), x)
    read = [weakref.ref(array) for array in told(layer.connectivity).arrays]
    layer.connectivity.forget()
    assert all(array() is not None for array in read)
    for ours, theirs in zip(gradients(layer, y, x), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_a_row_that_is_spread_out_and_a_gradient_that_is_one_number():
    layer, dense = layer_of(), layer_of().weight.to_dense().detach()
    wide = rows(1, 24)[:, ::2].requires_grad_()
    y = layer(wide)
    torch.testing.assert_close(y, F.linear(wide, dense, layer.bias))
    torch.testing.assert_close(torch.autograd.grad(y.sum(), wide)[0], dense.sum(0)[None])

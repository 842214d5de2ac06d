"""No input crashes the process: thousands of random and hostile ones, through every door.

A crash would end the test run; here every call must return or raise an ordinary exception.
"""

import copy
import math
import re
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sparselayers as sl

ORDINARY = (ValueError, RuntimeError, TypeError, IndexError, OverflowError)


def fuzzed(*strategies):
    """Give a test 150 examples, the same in each run, and 600 to a slow one beside it."""

    def of(test):
        few, many = (
            settings(
                max_examples=count,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                derandomize=True,
            )(given(*strategies)(test))
            for count in (150, 600)
        )
        globals()[f"{test.__name__}_at_length"] = pytest.mark.slow(many)
        return few

    return of


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # nothing here is worth waking a second one
    yield
    torch.set_num_threads(threads)


sizes = st.one_of(st.integers(1, 40), st.sampled_from([0, -1, 2**31, 2**40, 2**63, 1.5, None]))
sparsities = st.one_of(
    st.floats(0, 1), st.sampled_from([-1.0, 1.0, 2.0, math.nan, math.inf, 1 - 1e-17])
)
integers = st.one_of(st.integers(-3, 45), st.sampled_from([2**31 - 1, 2**31, 2**62, -(2**63)]))
index_types = st.sampled_from([torch.int64, torch.int32, torch.int16, torch.uint8, torch.float32])


@st.composite
def connectivities(draw):
    kind = draw(st.sampled_from(["none", "edges", "wrong", "mask"]))
    if kind == "none":
        return None
    if kind == "mask":
        shape = draw(st.lists(st.integers(0, 12), min_size=0, max_size=3))
        return torch.rand(shape) < 0.3
    rows = 2 if kind == "edges" else draw(st.integers(0, 3))
    columns = draw(st.integers(0, 8))
    numbers = draw(st.lists(integers, min_size=rows * columns, max_size=rows * columns))
    edges = torch.tensor(numbers, dtype=torch.int64).reshape(rows, columns)
    return edges.to(draw(index_types))


@fuzzed(
    st.tuples(sizes, sizes),
    sparsities,
    connectivities(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int32]),
    st.integers(0, 5),
)
def test_constructors(shape, sparsity, connectivity, small_world, bias, dtype, batch):
    total = shape[0] * shape[1] if all(isinstance(size, int) for size in shape) else 0
    if connectivity is None and total > 10**4 and sparsity < 1:
        return  # a huge layer is slow, not wrong
    if connectivity is not None and max(abs(size or 0) for size in shape) > 10**6:
        shape = tuple(min(size, 30) if isinstance(size, int) else size for size in shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # repeated edges
        try:
            layer = sl.SparseLinear(*shape, bias, sparsity, connectivity, small_world, dtype=dtype)
        except ORDINARY:
            return
    use(layer, torch.randn(batch, shape[0]).to(dtype))
    if connectivity is None:
        assert layer.weights.numel() == round((1 - sparsity) * shape[0] * shape[1])


def use(layer, x):
    """Run all three products; they must give numbers of the right shape."""
    x.requires_grad_()
    y = layer(x)
    y.square().sum().backward()
    assert y.shape == (*x.shape[:-1], layer.out_features)
    assert x.grad.shape == x.shape
    assert layer.weights.grad.shape == layer.weights.shape


@st.composite
def corruptions(draw):
    """What to do to a state dict: a few changes of its tensors, each with its numbers."""
    name = st.sampled_from(["row_ptr", "col", "weights", "bias"])
    kind = st.sampled_from(["set", "swap", "cut", "grow", "shift", "type", "shape", "drop", "meta"])
    change = st.tuples(name, kind, st.integers(0, 60), integers, index_types)
    return draw(st.lists(change, min_size=1, max_size=3))


def corrupted(state, changes):
    for name, kind, place, number, dtype in changes:
        tensor = state.get(name)
        if tensor is None or tensor.is_meta or (tensor.dim() and tensor.numel() == 0):
            continue
        flat = tensor.flatten()
        place %= flat.numel()
        number = number if tensor.is_floating_point() or abs(number) < 2**31 else number % 2**31
        if kind == "set":
            flat[place] = number
        elif kind == "swap":
            flat = flat.roll(place)
        elif kind == "cut":
            flat = flat[:place]
        elif kind == "grow":
            flat = torch.cat((flat, flat[:place]))
        elif kind == "shift":
            flat = flat + number
        elif kind == "type":
            flat = flat.to(dtype)
        elif kind == "shape":
            flat = flat[None]
        elif kind == "meta":
            flat = flat.to("meta")
        state[name] = flat
        if kind == "drop":
            del state[name]
    return state


@fuzzed(corruptions(), st.booleans(), st.sampled_from([0, 1, 17]), st.integers(0, 3))
def test_corrupt_states(changes, assign, batch, seed):
    generator = torch.Generator().manual_seed(seed)
    source = sl.SparseLinear(20, 11, sparsity=0.3 + 0.2 * seed, generator=generator)
    layer = sl.SparseLinear(20, 11, sparsity=0.6, generator=generator)
    before = copy.deepcopy(layer.state_dict())
    state = corrupted(copy.deepcopy(dict(source.state_dict())), changes)
    try:
        layer.load_state_dict(state, strict=False, assign=assign)
    except ORDINARY:
        if layer.weights.shape == before["weights"].shape and not layer._connections.waiting:
            torch.testing.assert_close(dict(layer.state_dict()), dict(before), equal_nan=True)
    if layer._connections.waiting:  # an array was dropped: the rest might still come
        missing = {"row_ptr", "col", "weights"} - state.keys()
        with pytest.raises(RuntimeError, match="waits for") as refused:
            layer(torch.randn(batch, 20))
        assert any(name in str(refused.value) for name in missing)
        return
    layer = layer.float() if not layer.weights.is_meta else layer
    if layer._connections.waiting:  # for what is missing of the state
        with pytest.raises(RuntimeError, match="waits for"):
            use(layer, torch.randn(batch, 20))
        return
    if not any(t.is_meta for t in layer.state_dict().values()):
        use(layer, torch.randn(batch, 20))


@fuzzed(
    st.sampled_from(["row_ptr", "col"]), st.integers(0, 200), integers, st.sampled_from([1, 17])
)
def test_arrays_changed_by_hand(name, place, number, batch):
    layer = sl.SparseLinear(20, 11, sparsity=0.6)
    layer(torch.randn(batch, 20))
    array = getattr(layer, name)
    array[place % array.numel()] = number % 2**31
    try:
        use(layer, torch.randn(batch, 20))
    except ValueError as error:  # the check's own; anything else would fail
        names = re.search("row_ptr|col", str(error))
        assert names


@fuzzed(
    st.lists(st.integers(0, 21), min_size=0, max_size=4),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.complex64]),
    st.sampled_from(["plain", "transposed", "expanded", "strided", "offset", "meta", "special"]),
)
def test_inputs(shape, dtype, layout):
    layer = sl.SparseLinear(20, 11, sparsity=0.6)
    x = torch.ones([*shape, 20]) if len(shape) < 3 else torch.ones(shape)
    if layout == "transposed" and x.dim() > 1:
        x = x.transpose(0, -1).contiguous().transpose(0, -1)
    elif layout == "expanded":
        x = torch.ones(1).expand(x.shape)
    elif layout == "strided":
        x = torch.ones(*x.shape, 3)[..., 1]
    elif layout == "offset" and x.dim() > 1:
        x = torch.ones(x.shape[0] + 1, *x.shape[1:])[1:]
    elif layout == "meta":
        x = x.to("meta")
    elif layout == "special":
        special = torch.tensor([math.nan, math.inf, -math.inf, 1e-40, 3e38])
        x = x * special.repeat(5)[: x.shape[-1]] if x.dim() else x * math.nan
    try:
        y = layer(x.to(dtype))
    except ORDINARY:
        assert x.shape[-1:] != (20,) or dtype != torch.float32 or layout == "meta"
        return
    assert y.shape == (*x.shape[:-1], 11)
    if layout != "special":
        expected = layer.weight.to_dense().sum(1) + layer.bias
        torch.testing.assert_close(y, expected.expand(y.shape))

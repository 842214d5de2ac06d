"""What SparseLinear takes over from a state dict, and what it refuses."""

import copy

import pytest
import torch

import sparselayers as sl


def test_another_number_of_connections():
    source = sl.SparseLinear(12, 9, sparsity=0.3)
    target = sl.SparseLinear(12, 9, sparsity=0.8)
    x = torch.randn(4, 12)
    target(x).sum().backward()
    parameter = target.weights
    target.load_state_dict(source.state_dict())
    assert target.weights is parameter  # for optimizers
    assert target.weights.grad is None
    assert torch.equal(target(x), source(x))
    assert target.sparsity == source.sparsity
    y = target(x)
    y.sum().backward()
    assert target.weights.grad.shape == source.weights.shape


def test_another_number_of_connections_by_assignment():
    source, target = (sl.SparseLinear(12, 9, sparsity=s) for s in (0.3, 0.8))
    target.load_state_dict(source.state_dict(), assign=True)
    x = torch.randn(4, 12)
    assert torch.equal(target(x), source(x))
    assert target.weights.requires_grad


def test_the_same_number_of_connections_elsewhere():
    # The buffers are copied into in place: a transpose kept from before would be wrong.
    source, target = (sl.SparseLinear(12, 9, sparsity=0.5) for _ in range(2))
    x = torch.randn(4, 12, requires_grad=True)
    target(x).sum().backward()
    target.load_state_dict(source.state_dict())
    (dx,) = torch.autograd.grad(target(x).sum(), x)
    torch.testing.assert_close(dx, source.weight.to_dense().sum(0).expand(4, 12))


def test_indices_of_another_width_are_converted():
    source, target = (sl.SparseLinear(12, 9, sparsity=0.5) for _ in range(2))
    state = source.state_dict()
    state["row_ptr"], state["col"] = state["row_ptr"].long(), state["col"].short()
    target.load_state_dict(state)
    assert target.col.dtype == target.row_ptr.dtype == torch.int32
    assert torch.equal(target.col, source.col)


def test_changed_buffers_are_noticed():
    layer = sl.SparseLinear(12, 9, sparsity=0.5)
    x = torch.randn(4, 12)
    layer(x)
    layer.col[0] = 1000
    with pytest.raises(ValueError, match=r"col\[0\] = 1000 is outside"):
        layer(x)


def corrupt(**changes):
    def change(state):
        for name, value in changes.items():
            state[name] = value(state[name]) if callable(value) else value
        return state

    return change


def set_at(place, value):
    def change(tensor):
        tensor = tensor.clone()
        tensor[place] = value
        return tensor

    return change


CORRUPT = {
    "column out of range": (corrupt(col=set_at(3, 12)), r"col\[3\] = 12 is outside \[0, 12\)"),
    "negative column": (corrupt(col=set_at(0, -1)), r"col\[0\] = -1 is outside"),
    "columns in disorder": (corrupt(col=lambda c: c.flip(0)), "columns must ascend"),
    "too few columns": (corrupt(col=lambda c: c[:-1]), "row_ptr must run from 0 to nnz"),
    "columns as floats": (corrupt(col=lambda c: c.float()), "col must be a 1-D int32 or int64"),
    "columns as a matrix": (corrupt(col=lambda c: c[None]), "col must be a 1-D"),
    "rows that fall": (corrupt(row_ptr=set_at(4, 0)), "row_ptr must not decrease"),
    "rows past the end": (corrupt(row_ptr=set_at(-1, 10**9)), "row_ptr must run from 0 to nnz"),
    "too many rows": (corrupt(row_ptr=lambda r: torch.cat((r, r[-1:]))), "row_ptr must have"),
    "a huge column": (corrupt(col=lambda c: c.long() + 2**32), r"col\[0\] = \d+ is outside"),
    "too few values": (corrupt(weights=lambda v: v[:-1]), r"weights have shape \(53,\)"),
    "too short a bias": (corrupt(bias=lambda b: b[:-1]), "bias must have 9 entries"),
    "no tensor": (corrupt(col=[1, 2, 3]), "col must be a real dense tensor, got list"),
    "a sparse tensor": (corrupt(weights=lambda v: v.to_sparse()), "weights must be a real dense"),
    "no data": (corrupt(weights=lambda v: v.to("meta")), "weights is on the meta device"),
}


@pytest.mark.parametrize("case", CORRUPT)
@pytest.mark.parametrize("assign", [False, True])
def test_a_corrupt_state_changes_nothing(case, assign):
    change, message = CORRUPT[case]
    if case == "no data" and assign:
        pytest.skip("assigning meta tensors is how a layer is moved there")
    layer = sl.SparseLinear(12, 9, sparsity=0.5)
    before = copy.deepcopy(layer.state_dict())
    state = change(copy.deepcopy(sl.SparseLinear(12, 9, sparsity=0.5).state_dict()))
    with pytest.raises(RuntimeError, match=message):
        layer.load_state_dict(state, strict=False, assign=assign)
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    model = torch.nn.Sequential(torch.nn.ReLU(), layer)
    with pytest.raises(RuntimeError, match=f"1: {message}"):  # names the layer
        model.load_state_dict({f"1.{name}": value for name, value in state.items()}, strict=False)


def test_missing_and_unexpected_keys_are_reported_as_usual():
    layer = sl.SparseLinear(12, 9)
    state = layer.state_dict()
    del state["bias"]
    with pytest.raises(RuntimeError, match=r'Missing key.*"bias"'):
        layer.load_state_dict(state)
    assert layer.load_state_dict(state, strict=False).missing_keys == ["bias"]
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"other"'):
        layer.load_state_dict(layer.state_dict() | {"other": torch.zeros(1)})

"""Connectivity: what it accepts, what it refuses, and its transpose."""

import copy
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sparselayers as sl
from sparselayers.connectivity import check_shape, index_dtype

MASK = torch.tensor([[0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)


def ints(*entries, dtype=torch.int32):
    return torch.tensor(entries, dtype=dtype)


def test_a_table_worked_by_hand():
    connectivity = sl.from_mask(MASK)
    assert connectivity.row_ptr.tolist() == [0, 2, 2, 4]
    assert connectivity.col.tolist() == [1, 3, 0, 1]
    assert connectivity.row.tolist() == [0, 0, 2, 2]
    assert (connectivity.nnz, connectivity.sparsity) == (4, 1 - 4 / 12)
    transposed = connectivity.transposed
    assert transposed.col_ptr.tolist() == [0, 1, 3, 3, 4]
    assert transposed.row.tolist() == [2, 0, 2, 0]
    assert transposed.permutation.tolist() == [2, 0, 3, 1]
    assert torch.equal(connectivity.mask(), MASK)
    assert repr(connectivity) == "Connectivity(shape=(3, 4), nnz=4, sparsity=0.666667)"


@given(st.integers(1, 9), st.integers(1, 9), st.randoms(use_true_random=False))
def test_the_transpose_agrees_with_the_dense_one(out_features, in_features, rng):
    mask = torch.tensor(
        [[rng.random() < 0.4 for _ in range(in_features)] for _ in range(out_features)]
    )
    mask[rng.randrange(out_features), rng.randrange(in_features)] = True
    connectivity = sl.from_mask(mask)
    values = torch.arange(1.0, connectivity.nnz + 1)
    dense = torch.zeros(mask.shape)
    dense[mask] = values
    col_ptr, row, permutation = connectivity.transposed
    expected = dense.t().contiguous()
    other = sl.Connectivity((in_features, out_features), col_ptr, row)
    assert torch.equal(other.mask(), expected != 0)
    assert torch.equal(values[permutation.long()], expected[expected != 0])
    assert {array.dtype for array in connectivity.transposed} == {torch.int32}


@pytest.mark.parametrize(
    ("row_ptr", "col", "message"),
    [
        (ints(0, 1, 1, 1, 2), ints(0, 3), r"row_ptr must have out \+ 1 = 4 entries, got 5"),
        (ints(1, 1, 1, 2), ints(0, 3), "row_ptr must run from 0 to nnz = 2, got 1 to 2"),
        (ints(0, 1, 1, 3), ints(0, 3), "row_ptr must run from 0 to nnz = 2, got 0 to 3"),
        (ints(0, 2, 1, 2), ints(0, 3), r"row_ptr\[1\] = 2 and row_ptr\[2\] = 1"),
        (ints(0, 2**31 - 1, -(2**31), 2), ints(0, 3), "row_ptr must not decrease"),
        (ints(0, 1, 1, 2), ints(0, 4), r"col\[1\] = 4 is outside \[0, 4\)"),
        (ints(0, 1, 1, 2), ints(-1, 3), r"col\[0\] = -1 is outside \[0, 4\)"),
        (ints(0, 2, 2, 2), ints(3, 1), r"col\[0\] = 3 and col\[1\] = 1"),
        (ints(0, 2, 2, 2), ints(1, 1), r"without duplicates, but col\[0\] = 1 and col\[1\] = 1"),
        (ints(0, 1, 1, 2), ints(0, 3, dtype=torch.int64), "must both be torch.int32"),
        (ints(0, 1, 1, 2), torch.tensor([0.0, 3.0]), "col must be a 1-D int32 or int64 tensor"),
        (ints(0, 1, 1, 2), ints(0, 3).view(1, 2), "col must be .* got 2-D int32"),
        (ints(0, 1, 1, 2), ints(0, 3, dtype=torch.int16), "got 1-D int16"),
    ],
)
def test_arrays_that_are_no_connectivity(row_ptr, col, message):
    with pytest.raises(ValueError, match=message):
        sl.Connectivity((3, 4), row_ptr, col)


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.lists(st.integers(-1, 4), min_size=1, max_size=5),
    st.lists(st.integers(-1, 4), max_size=4),
)
def test_arbitrary_arrays_are_refused_or_right(out_features, in_features, row_ptr, col):
    """Whatever the arrays hold, they are refused or they are those of the mask they describe."""
    try:
        connectivity = sl.Connectivity((out_features, in_features), ints(*row_ptr), ints(*col))
    except ValueError:
        connectivity = None
    edges = [
        (row, col[place])
        for row in range(min(out_features, len(row_ptr) - 1))
        for place in range(row_ptr[row], row_ptr[row + 1])
        if 0 <= place < len(col)
    ]
    right = (
        len(row_ptr) == out_features + 1
        and row_ptr[0] == 0
        and row_ptr[-1] == len(col)
        and row_ptr == sorted(row_ptr)
        and all(0 <= index < in_features for index in col)
        and edges == sorted(set(edges))
    )
    assert (connectivity is not None) == right
    if connectivity is not None:
        assert connectivity.mask().nonzero().tolist() == [list(edge) for edge in edges]


@pytest.mark.parametrize(
    "shape",
    [(3,), (3, 4, 5), (0, 4), (3, -1), (3.0, 4), (3, float("nan")), ("3", 4), 7, (2**32, 2**32)],
)
def test_shapes_that_are_none(shape):
    with pytest.raises(ValueError, match="shape"):
        check_shape(shape)


def test_integers_widen_where_int32_would_wrap():
    assert index_dtype((3, 2**31 - 1), 10) == torch.int32
    assert index_dtype((3, 2**31), 10) == torch.int64
    assert index_dtype((3, 4), 2**31) == torch.int64
    wide = sl.from_edges(torch.tensor([[0, 1], [2**31 + 5, 7]]), (2, 2**31 + 6))
    assert wide.col.dtype == wide.row_ptr.dtype == torch.int64
    assert wide.col.tolist() == [2**31 + 5, 7]
    with pytest.raises(ValueError, match="int64"):
        sl.Connectivity((2, 2**31 + 6), wide.row_ptr.int(), ints(5, 7))


def test_copies_and_pickles_are_equal():
    connectivity = sl.from_mask(MASK)
    for other in (copy.deepcopy(connectivity), pickle.loads(pickle.dumps(connectivity))):
        assert other.shape == connectivity.shape
        assert torch.equal(other.mask(), MASK)
    assert connectivity.to("cpu") is connectivity
    assert connectivity.to("meta").device.type == "meta"

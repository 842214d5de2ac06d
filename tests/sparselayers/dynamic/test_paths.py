"""Scores by paths of length three: against every path, one by one, and a graph worked by hand."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sparselayers as sl
from sparselayers.dynamic import paths
from tests import peaks


def by_hand(mask):
    """Return CH2-L3n and CH3-L3p of all absent links, from the definitions."""
    outputs, inputs = mask.shape
    of_output = [set(mask[u].nonzero().flatten().tolist()) for u in range(outputs)]
    of_input = [set(mask[:, v].nonzero().flatten().tolist()) for v in range(inputs)]
    node, path = torch.zeros(mask.shape).double(), torch.zeros(mask.shape).double()
    for u, v in itertools.product(range(outputs), range(inputs)):
        if v in of_output[u]:
            continue
        community = {
            (t, z) for t in of_output[u] for z in of_input[v] if t in of_output[z]
        }  # every pair is a path u – t – z – v
        tops, bottoms = {z for _, z in community}, {t for t, _ in community}
        internal = {("z", z): len(of_output[z] & bottoms) for z in tops}
        internal |= {("t", t): len(of_input[t] & tops) for t in bottoms}
        external = {("z", z): len(of_output[z] - bottoms - {v}) for z in tops}
        external |= {("t", t): len(of_input[t] - tops - {u}) for t in bottoms}
        node[u, v] = sum((internal[n] + 1) / (external[n] + 1) for n in internal)
        path[u, v] = sum(
            1 / math.sqrt((external["t", t] + 1) * (external["z", z] + 1)) for t, z in community
        )
    return node, path


def scores(function, connectivity):
    total, every = torch.zeros(connectivity.shape).double(), []
    for keys, values in function(paths.Graph(connectivity)):
        every.append(keys)
        total.view(-1)[keys] += values
    every = torch.cat(every)
    assert every.unique().numel() == every.numel()
    return total.masked_fill(connectivity.mask(), 0)


def test_a_path_worked_by_hand():
    # Outputs 0 and 1, inputs 0 and 1: 0 – 0, 1 – 0, 1 – 1. The one path that closes 0 – 1 leads
    # over input 0 and output 1, which have one internal link, to each other, and no external one.
    mask = torch.tensor([[True, False], [True, True]])
    layer = sl.from_mask(mask)
    assert scores(paths.ch3_l3p, layer)[0, 1] == pytest.approx(1.0)
    assert scores(paths.ch2_l3n, layer)[0, 1] == pytest.approx(2 + 2)
    # Another input of output 1 that 0 does not have: one external link of it.
    layer = sl.from_mask(torch.tensor([[True, False, False], [True, True, True]]))
    assert scores(paths.ch3_l3p, layer)[0, 1] == pytest.approx(1 / math.sqrt(2))
    assert scores(paths.ch2_l3n, layer)[0, 1] == pytest.approx(2 / 2 + 2)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 9), st.floats(0.05, 0.9), st.integers(0, 99), st.booleans()
)
def test_scores_are_those_of_all_paths(outputs, inputs, density, seed, small):
    mask = torch.rand(outputs, inputs, generator=torch.Generator().manual_seed(seed)) < density
    mask[0, 0] = True
    layer, (node, path) = sl.from_mask(mask), by_hand(mask)
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(paths, "_PATHS", 7)
            patch.setattr(paths, "_DENSE", 10)
            patch.setattr(paths, "_HELD", 20)
        assert torch.allclose(scores(paths.ch3_l3p, layer), path)
        for worth in (0, 1e9):  # always by paths, always by products
            patch.setattr(paths, "_WORTH", worth)
            assert torch.allclose(scores(paths.ch2_l3n, layer), node, atol=1e-5)


def test_nothing_as_large_as_the_layer_exists_where_products_are_cheaper():
    """3000 × 3000 with 20 connections an output: of each other input only a part is held."""
    layer = sl.random((3000, 3000), 1 - 20 / 3000, generator=torch.Generator().manual_seed(0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "_WORTH", 1e9)
        graph, made = paths.Graph(layer), []
        empty = torch.Tensor.new_empty

        def new_empty(like, *size, **kind):
            result = empty(like, *size, **kind)
            made.append(result.numel())
            return result

        patch.setattr(torch.Tensor, "new_empty", new_empty)
        keys, _ = next(iter(paths.ch2_l3n(graph)))
    assert keys.numel() > 0
    assert max(made) < 2**21  # of 9 million places


def test_a_large_layer_is_never_made_dense():
    layer = sl.random((50_000, 50_000), 1 - 6e-5, generator=torch.Generator().manual_seed(0))
    some = list(paths.ch2_l3n(paths.Graph(layer)))
    assert sum(keys.numel() for keys, _ in some) < 100 * layer.nnz


@peaks.needed
def test_scores_and_correlations_take_less_memory_than_a_dense_net():
    """Of 784 – 1568 – 1568 – 1568 – 10 dense training holds 74 MB: 12 bytes a weight."""
    scored, correlated = peaks.of(
        """
import torch
import sparselayers as sl
from sparselayers.dynamic import paths

torch.set_num_threads(1)


def scores(width):
    layer = sl.random((width, width), 0.99, generator=torch.Generator().manual_seed(0))
    return sum(keys.numel() for keys, _ in paths.ch2_l3n(paths.Graph(layer)))


scores(100)
sl.correlated((40, 30), samples=torch.randn(50, 30))
samples = torch.randn(5000, 784)
begin()
scores(1568)
scored = rise()
begin()
sl.correlated((1568, 784), 0.99, samples=samples)
print(json.dumps([scored, rise()]))
"""
    )
    assert scored < 40e6  # 85 MB with blocks of a million places
    assert correlated < 40e6  # 96 MB with all samples in float64

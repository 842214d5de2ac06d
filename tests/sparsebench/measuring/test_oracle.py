"""The oracle against autograd on a dense weight in float64."""

from dataclasses import replace

import pytest
import torch

from sparsebench.cases import problem
from sparsebench.measuring import oracle
from tests.sparsebench.cases.test_case import CASE, CONV


@pytest.mark.parametrize("path", [oracle._by_connections, oracle._by_dense_blocks])
def test_both_ways_agree_with_autograd(path, monkeypatch):
    monkeypatch.setattr(oracle, "_BLOCK", 200)  # several blocks
    given = problem.make(replace(CASE, sparsity=0.95))
    assert (given.connectivity.row_ptr.diff() == 0).any()  # an empty row is among them
    mask = given.connectivity.mask()
    weight = torch.zeros(20, 30, dtype=torch.float64)
    weight[mask] = given.values.double()
    weight.requires_grad_()
    x = given.x.double().requires_grad_()
    y = x @ weight.T
    y.backward(given.dy.double())
    for actual, exact in zip(path(given), (y, x.grad, weight.grad[mask]), strict=True):
        torch.testing.assert_close(actual, exact)


@pytest.mark.parametrize("changes", [{}, {"stride": 1, "groups": 1}, {"kernel": 1, "padding": 0}])
def test_a_convolution_agrees_with_autograd_over_its_windows(changes, monkeypatch):
    monkeypatch.setattr(oracle, "_BLOCK", 700)  # several blocks of images
    case = replace(CONV, sparsity=0.95, **changes)
    given = problem.make(case)
    assert (given.connectivity.row_ptr.diff() == 0).any()
    mask = given.connectivity.mask()
    weight = torch.zeros(mask.shape, dtype=torch.float64)
    weight[mask] = given.values.double()
    weight.requires_grad_()
    x, bias = given.x.double().requires_grad_(), given.bias.double().requires_grad_()
    columns = torch.nn.functional.unfold(x, case.kernel, 1, case.padding, case.stride)
    parts = columns.unflatten(1, (case.groups, -1)).unsqueeze(2)  # (images, groups, 1, …, windows)
    per_group = weight.unflatten(0, (case.groups, -1)).unsqueeze(-1)
    y = (per_group * parts).sum(3).flatten(1, 2) + bias.view(-1, 1)
    y.backward(given.dy.double().flatten(2))
    exact = oracle.expected(given)
    torch.testing.assert_close(exact["output"].flatten(2), y)
    torch.testing.assert_close(exact["input"], x.grad)
    torch.testing.assert_close(exact["values"], weight.grad[mask])
    torch.testing.assert_close(exact["bias"], bias.grad)


def test_the_error_is_relative_to_the_largest_entry():
    exact = torch.tensor([1.0, -4.0], dtype=torch.float64)
    assert oracle.relative_error(torch.tensor([1.0, -4.0]), exact) == 0
    assert oracle.relative_error(torch.tensor([1.5, -4.0]), exact) == pytest.approx(0.125)
    assert oracle.relative_error(torch.tensor([1.0]), exact) == float("inf")
    assert not oracle.relative_error(torch.tensor([1.0, float("nan")]), exact) <= 1e9


@pytest.mark.parametrize("case", [CASE, CONV], ids=["linear", "conv2d"])
def test_a_problem_survives_being_stored(case, tmp_path):
    given = problem.make(case)
    problem.save(given, tmp_path / "problem.pt")
    again = problem.load(tmp_path / "problem.pt", "cpu")
    assert torch.equal(again.connectivity.mask(), given.connectivity.mask())
    assert again.geometry == given.geometry
    for name in ("values", "bias", "x", "dy"):
        assert torch.equal(getattr(again, name), getattr(given, name))

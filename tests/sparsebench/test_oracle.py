"""The oracle against autograd on a dense weight in float64."""

from dataclasses import replace

import pytest
import torch

from sparsebench import oracle, problem
from tests.sparsebench.test_case import CASE


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


def test_the_error_is_relative_to_the_largest_entry():
    exact = torch.tensor([1.0, -4.0], dtype=torch.float64)
    assert oracle.relative_error(torch.tensor([1.0, -4.0]), exact) == 0
    assert oracle.relative_error(torch.tensor([1.5, -4.0]), exact) == pytest.approx(0.125)
    assert oracle.relative_error(torch.tensor([1.0]), exact) == float("inf")
    assert not oracle.relative_error(torch.tensor([1.0, float("nan")]), exact) <= 1e9


def test_a_problem_survives_being_stored(tmp_path):
    given = problem.make(CASE)
    problem.save(given, tmp_path / "problem.pt")
    again = problem.load(tmp_path / "problem.pt", "cpu")
    assert torch.equal(again.connectivity.mask(), given.connectivity.mask())
    for name in ("values", "bias", "x", "dy"):
        assert torch.equal(getattr(again, name), getattr(given, name))

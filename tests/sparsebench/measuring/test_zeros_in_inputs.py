"""Linear layers whose inputs are mostly zero, as k-winners leave them."""

from dataclasses import replace

import pytest
import torch

from sparsebench.cases import problem
from sparsebench.measuring import runner, worker
from tests.sparsebench.cases.test_case import CASE as SOME

CASE = replace(SOME, input_sparsity=0.8, threads=torch.get_num_threads())


def test_the_share_of_zeros_is_what_k_winners_leave():
    plain, made = problem.make(replace(CASE, input_sparsity=0.0)), problem.make(CASE)
    assert (made.x != 0).sum(1).tolist() == [6] * 4
    assert (made.x[made.x != 0] == plain.x[made.x != 0]).all()
    assert torch.equal(made.values, plain.values)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", ["dense", "ours", "dense_nonzero", "csc_nonzero", "scipy_nonzero"])
def test_it_is_measured_and_checked_with_as_many_zeros(tmp_path, name, batch):
    case = replace(CASE, implementation=name, batch=batch)
    worker.prepare(case, tmp_path)
    outcome = worker.measure(case, tmp_path, 1e-4, None)
    assert (outcome.status, outcome.message) == ("ok", "")


def test_gradients_too(tmp_path):
    case = replace(CASE, implementation="ours", phase="train_step")
    worker.prepare(case, tmp_path)
    assert worker.measure(case, tmp_path, 1e-4, None).status == "ok"


def test_the_key_says_so_and_only_then():
    assert CASE.key.endswith(" seed=0 input_sparsity=0.8")
    assert CASE.size == "30→20, 80% zeros in"
    assert "input_sparsity" not in SOME.key
    with pytest.raises(ValueError, match="only linear layers have zeros as input"):
        replace(CASE, operation="product")


def test_inputs_with_and_without_zeros_are_different_numbers():
    assert runner.numbers(CASE) != runner.numbers(replace(CASE, input_sparsity=0.0))
    assert runner.numbers(CASE) == runner.numbers(replace(CASE, phase="train_step"))

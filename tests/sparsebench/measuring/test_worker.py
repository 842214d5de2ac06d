"""One case: verified before it is timed."""

from dataclasses import replace

import pytest
import torch

from sparsebench.implementations import IMPLEMENTATIONS
from sparsebench.implementations.dense import Dense
from sparsebench.implementations.ours import Ours
from sparsebench.measuring import isolation, worker
from sparselayers.functional import sparse_linear
from tests.sparsebench.cases.test_case import CASE as SOME

CASE = replace(SOME, implementation="wrong", threads=torch.get_num_threads())


@pytest.fixture
def measure(tmp_path, monkeypatch):
    def measure(implementation, case=CASE, earlier=None):
        monkeypatch.setitem(IMPLEMENTATIONS, "wrong", implementation)
        worker.prepare(case, tmp_path)
        return worker.measure(case, tmp_path, 1e-4, earlier)

    return measure


class _Wrong(Dense):
    def __init__(self, forward):
        self._forward = forward

    def build(self, problem):
        module = super().build(problem)
        forward = module.forward
        module.forward = lambda x: self._forward(forward, x)
        return module


class _WrongValuesGradient(Ours):
    def values_gradient(self, module, problem):
        return super().values_gradient(module, problem).roll(1)


class _WrongBiasGradient(Dense):
    def bias_gradient(self, module, problem):
        return super().bias_gradient(module, problem) * 1.001


@pytest.mark.parametrize(
    ("implementation", "wrong"),
    [
        (_Wrong(lambda forward, x: forward(x) * 1.001), "output"),
        (_Wrong(lambda forward, x: forward(x) + float("nan")), "output by nan"),
        (_Wrong(lambda forward, x: forward(x)[:, :-1].repeat(1, 2)[:, :20]), "output"),
        (_Wrong(lambda forward, x: forward(2 * x.detach() - x)), "input"),
        (_WrongValuesGradient(), "weights"),
        (_WrongBiasGradient(), "bias"),
    ],
)
def test_a_wrong_implementation_gets_no_time(implementation, wrong, measure):
    outcome = measure(implementation)
    assert outcome.status == "incorrect"
    assert wrong in outcome.message
    assert outcome.times.samples == []
    assert outcome.memory.held is None


class _NoModule(Dense):
    def build(self, problem):
        return problem.values


def test_what_builds_no_module_is_told_so(measure):
    with pytest.raises(TypeError, match=r"build of dense returned a Tensor, and has to return"):
        measure(_NoModule())


def test_a_missing_gradient_is_an_error(measure):
    with pytest.raises(RuntimeError, match="no gradient of the input"):
        measure(_Wrong(lambda forward, x: forward(x.detach())))


def test_inference_alone_is_checked_by_its_output(measure, monkeypatch):
    implementation = _Wrong(lambda forward, x: forward(x.detach()))
    implementation.trains = False
    outcome = measure(implementation)
    assert outcome.status == "ok"
    assert outcome.errors.keys() == {"output"}
    assert outcome.memory.training_peak is None


def test_memory_is_what_the_module_and_its_training_step_need(tmp_path):
    case = replace(
        CASE, implementation="dense", in_features=4096, out_features=2048, phase="train_step"
    )
    # In processes of their own, as in a run: here, what earlier tests have freed would be reused.
    isolation.call(worker.prepare, case, tmp_path, timeout_s=600)
    outcome = isolation.call(worker.measure, case, tmp_path, 1e-4, None, timeout_s=600)
    weight = 4 * 4096 * 2048
    assert outcome.memory.held == pytest.approx(weight, rel=0.3)
    assert outcome.memory.training_peak == pytest.approx(weight, rel=0.3)  # the gradient
    assert outcome.memory.inference_peak < weight / 3


@pytest.mark.parametrize(("name", "width", "weight"), [("dense", 64, 64**2), ("ours", 256, 6554)])
def test_memory_repeats_and_is_the_layers_own(name, width, weight, tmp_path):
    case = replace(
        CASE, implementation=name, in_features=width, out_features=width, phase="train_step"
    )
    isolation.call(worker.prepare, case, tmp_path, timeout_s=600)
    first, second = (
        isolation.call(worker.measure, case, tmp_path, 1e-4, None, timeout_s=600).memory
        for _ in range(2)
    )
    for part in ("held", "inference_peak", "training_peak"):
        a, b = getattr(first, part), getattr(second, part)
        assert a == pytest.approx(b, rel=0.05, abs=2 * 4096)
    # Values, and columns of a sparse one: in 16 bits, or in 32 besides.
    least, most = (4, 4) if name == "dense" else (6, 8)
    assert least * weight <= first.held <= 1.2 * most * weight + 40_000  # objects of Python too
    assert first.training_peak >= 4 * weight  # the gradient


def test_what_the_module_shares_with_the_problem_counts_as_held(tmp_path):
    case = replace(CASE, in_features=2048, out_features=2048, sparsity=0.8, phase="inference")
    isolation.call(worker.prepare, case, tmp_path, timeout_s=600)
    memory = isolation.call(_measured_by_reference, case, tmp_path, timeout_s=600).memory
    values, columns = 4 * case.nnz, 4 * case.nnz
    assert memory.held >= 0.95 * (values + columns)


def _measured_by_reference(case, folder):
    IMPLEMENTATIONS["wrong"] = _Reference()
    return worker.measure(case, folder, 1e-4, None)


class _Reference(Ours):
    def build(self, problem):
        module = super().build(problem)
        module.forward = lambda x: sparse_linear(
            x, module.weights, module.bias, module.connectivity, backend="reference"
        )
        return module


def test_a_later_round_counts_calls_alike_and_checks_nothing_again(measure):
    first = measure(Dense())
    later = measure(Dense(), earlier=replace(first.times, calls_per_sample=3))
    assert later.times.calls_per_sample % 3 == 0
    assert later.errors == {}
    assert later.memory.held is None

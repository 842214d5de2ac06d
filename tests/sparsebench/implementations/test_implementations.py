"""Every implementation of our own and of PyTorch gives what the oracle does."""

from dataclasses import replace

import pytest
import torch

from sparsebench import implementations
from sparsebench.cases import phases, problem, sweep
from sparsebench.implementations import IMPLEMENTATIONS, Implementation
from sparsebench.measuring import memory, worker
from sparsebench.measuring.refusals import refusal
from sparselayers.convert.measure import Times
from tests.sparsebench.cases.test_case import CASE, CONV

OWN = ("dense", "masked", "torch_coo", "torch_csr", "reference", "ours", "auto")


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("name", OWN)
def test_output_and_gradients_are_the_oracles(name, dtype, tmp_path):
    case = replace(
        CASE,
        implementation=name,
        dtype=dtype,
        sparsity=0.95,  # leaves rows and columns empty
        threads=torch.get_num_threads(),
    )
    if reason := IMPLEMENTATIONS[name].unsupported(case):
        assert dtype not in IMPLEMENTATIONS[name].dtypes
        assert dtype in reason
        return
    worker.prepare(case, tmp_path)
    outcome = worker.measure(case, tmp_path, 1e-4, None)
    assert outcome.status == "ok", outcome.message
    assert outcome.errors.keys() == {"output", "input", "values", "bias"}
    assert outcome.times.samples


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "name", [n for n, i in IMPLEMENTATIONS.items() if "conv2d" in i.operations and not i.modules]
)
def test_a_convolutions_output_and_gradients_are_the_oracles(name, dtype, tmp_path):
    case = replace(CONV, implementation=name, dtype=dtype, sparsity=0.9)
    case = replace(case, threads=torch.get_num_threads())
    worker.prepare(case, tmp_path)
    outcome = worker.measure(case, tmp_path, 1e-4, None)
    assert outcome.status == "ok", outcome.message
    assert outcome.errors.keys() == {"output", "input", "values", "bias"}
    assert outcome.times.samples
    assert outcome.memory.training_peak is not None


def test_a_layer_that_computes_another_convolution_is_incorrect(tmp_path, monkeypatch):
    case = replace(CONV, implementation="ours", threads=torch.get_num_threads())
    worker.prepare(case, tmp_path)
    build = type(IMPLEMENTATIONS["ours"]).build

    def shifted(self, given):
        layer = build(self, given)
        layer.weights.data = layer.weights.data.roll(1)
        return layer

    monkeypatch.setattr(type(IMPLEMENTATIONS["ours"]), "build", shifted)
    assert worker.measure(case, tmp_path, 1e-4, None).status == "incorrect"


def test_registered_names_are_their_own():
    assert all(name == i.name for name, i in IMPLEMENTATIONS.items())
    assert all(isinstance(i, Implementation) for i in IMPLEMENTATIONS.values())
    assert set(OWN) <= IMPLEMENTATIONS.keys()


def test_what_is_no_layer_in_place_of_a_dense_one_stands_for_none():
    others = {"rigl", "set", "masked_rigl", "top_k_mask", "nupic_formula"}
    others |= {"dense_nonzero", "csc_nonzero", "scipy_nonzero"}
    others |= {"dense_graph", "ours_graph", "ours_gather", "ours_bitmaps"}
    assert {name for name, i in IMPLEMENTATIONS.items() if not i.stands_in} == others
    assert not any(map(implementations.as_exact, others))
    assert all(map(implementations.as_exact, ("dense", "ours", "somebody's")))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"implementation": "torch_csr", "dtype": "bfloat16"}, "does not support dtype bfloat16"),
        ({"device": "cuda"}, "no CUDA device"),
        (
            {"implementation": "torch_csr", "operation": "conv2d"},
            "does not support operation conv2d (only linear, product)",
        ),
    ],
)
def test_what_cannot_be_measured_has_a_reason(fields, reason, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert reason in refusal(replace(CASE, **fields))


def test_what_does_not_fit_is_refused_before_anything_is_allocated(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 2 * 10**9)
    monkeypatch.setattr(implementations.Implementation, "build", None)
    found = {case.implementation: case for case in sweep.load("headline").cases(["cpu"], [2])}
    for name in ("dense", "masked"):
        assert "GB of cpu memory, 2 free" in refusal(found[name])
    assert IMPLEMENTATIONS["dense"].bytes_needed(found["dense"]) >= 3.2e9
    assert refusal(found["ours"]) is None


def test_what_is_trained_may_be_left_out(monkeypatch):
    monkeypatch.setattr(type(IMPLEMENTATIONS["dense"]), "trains", False)
    assert refusal(CASE) is None
    assert refusal(replace(CASE, phase="train_step")) == "dense has no backward pass"


@pytest.mark.parametrize(
    ("fastest", "phase", "expected"),
    [
        ("Linear", "inference", "Linear"),
        ("SparseLinear", "inference", "SparseLinear"),
        ("_CSRLinear", "inference", "_CSRLinear"),
        ("SparseLinear", "forward_backward", "SparseLinear"),
        ("_CSRLinear", "forward_backward", "Linear"),  # a tensor in rows is no candidate here
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_auto_is_the_fastest(fastest, phase, expected, monkeypatch, tmp_path):
    """What takes how long is made up; of those that are not the fastest, the dense one leads."""
    auto = IMPLEMENTATIONS["auto"]
    worker.prepare(replace(CASE, phase=phase), tmp_path)
    given = problem.load(tmp_path / "problem.pt", "cpu", phase)
    original, kinds = phases.step, {}

    def step(module, *args):
        taken = original(module, *args)
        kinds[taken] = type(module).__name__
        return taken

    def compare(*steps, **_):
        times = {"Linear": 2.0, "SparseLinear": 3.0, "_CSRLinear": 3.0} | {fastest: 1.0}
        return Times(*(times[kinds[step]] for step in steps), low=0, high=9, samples=7)

    monkeypatch.setattr(phases, "step", step)
    monkeypatch.setattr("sparsebench.implementations.auto.compare", compare)
    module = auto.build(given)
    assert type(module).__name__ == expected
    assert all(parameter.grad is None for parameter in module.parameters())

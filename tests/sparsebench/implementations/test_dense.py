"""Every dense layer gives the oracle's answers in its own type; so do engines that are here."""

from dataclasses import replace

import pytest
import torch

from sparsebench.analysis.baselines import SHORT, is_dense
from sparsebench.implementations import IMPLEMENTATIONS
from sparsebench.implementations.torch_2to4 import check_pattern
from sparsebench.measuring import isolation, worker
from sparsebench.measuring.refusals import refusal
from tests.sparsebench.cases.test_case import CASE

WIDE = replace(CASE, in_features=96, out_features=64, batch=16, threads=2)
ENGINES = {
    "dense_onnxruntime": "pip install onnx onnxruntime",
    "dense_onnxruntime_int8": "pip install onnx onnxruntime",
    "dense_openvino": "pip install openvino",
    "dense_openvino_int8": "pip install openvino",
    "openvino_sparse": "pip install openvino",
    "jax_bcsr": "pip install jax",
}
OWN = ("dense_onednn", "dense_openblas", "dense_packed", "dense_int8", "torch_bsr")


def measured(case, folder):
    """In a process of its own: some set what is the whole process's."""
    worker.prepare(case, folder)
    outcome = isolation.call(worker.measure, case, folder, 1e-4, None, timeout_s=600)
    assert outcome.status == "ok", outcome.message
    assert outcome.times.samples
    return outcome


COMPILED = pytest.param("dense_frozen", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [*OWN, COMPILED, "dense_medium", *ENGINES])
def test_inference_is_the_oracles(name, tmp_path):
    case = replace(WIDE, implementation=name)
    if reason := refusal(case):
        pytest.skip(reason)
    error = measured(case, tmp_path).errors["output"]
    assert error > 1e-3 if IMPLEMENTATIONS[name].precision else error < 1e-5


@pytest.mark.parametrize(("name", "batch"), [(n, 16) for n in OWN] + [("dense_mv", 1)])
def test_gradients_are_the_oracles(name, batch, tmp_path):
    case = replace(WIDE, implementation=name, batch=batch, phase="train_step")
    if not IMPLEMENTATIONS[name].trains:
        assert refusal(case) == f"{name} has no backward pass"
        return
    assert measured(case, tmp_path).errors.keys() == {"output", "input", "values", "bias"}


def test_what_multiplies_in_a_shorter_type_is_known_as_such():
    short = {n for n, i in IMPLEMENTATIONS.items() if is_dense(n) and i.precision}
    assert short == set(SHORT)


@pytest.mark.parametrize("there", [True, False])
def test_bfloat16_without_instructions_for_it_is_measured_where_memory_decides_alone(
    there, monkeypatch
):
    """Imitated products of larger batches took two minutes a case, all others seconds."""
    module = "sparsebench.implementations.dense_bf16.multiplies_bfloat16"
    monkeypatch.setattr(module, lambda: there)
    one, many = (replace(WIDE, implementation="dense_bf16", batch=batch) for batch in (1, 16))
    assert refusal(one) is None
    assert (refusal(many) is None) == there
    assert there or "no instructions for bfloat16" in refusal(many)


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_that_is_missing_is_named_with_its_command(name, monkeypatch):
    monkeypatch.setattr("sparsebench.implementations.base.find_spec", lambda _: None)
    assert f"install with: {ENGINES[name]}" in refusal(replace(WIDE, implementation=name))


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("dense_mv", {}, "dense_mv is for batch 1, got 16"),
        ("torch_bsr", {"in_features": 90}, "torch_bsr: in_features = 90 is no multiple of 16"),
        ("torch_2to4", {"dtype": "float16"}, "does not support device cpu"),
        (
            "torch_2to4",
            {"dtype": "float16", "device": "cuda"},
            "is for topologies 2:4 and 1:4, got random",
        ),
        ("openvino_sparse", {"sparsity": 0.4}, "is for sparsities of 50% and more"),
        (
            "dense_onnxruntime",
            {"in_features": 30_000, "out_features": 30_000},
            "a model of 3.6 GB; ONNX takes less than 2.1",
        ),
    ],
)
def test_what_is_beyond_one_has_a_reason(name, changes, reason):
    case = replace(WIDE, implementation=name, **changes)
    assert reason in IMPLEMENTATIONS[name].unsupported(case)


def test_two_of_four_are_a_pattern():
    check_pattern(torch.tensor([[1.0, 0, 2, 0, 0, 0, 0, 3]]))
    with pytest.raises(ValueError, match="3 of 4 neighbours are connected; at most 2 may be"):
        check_pattern(torch.tensor([[1.0, 0, 2, 4]]))
    with pytest.raises(ValueError, match="6 columns are no multiple of 4"):
        check_pattern(torch.zeros(1, 6))

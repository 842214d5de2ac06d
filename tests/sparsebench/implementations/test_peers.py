"""Every peer that is installed gives the oracle's answers; every other one says how to get it."""

import itertools
import sys

import pytest
import torch
from torch import Tensor

from sparsebench.cases import phases, sweep
from sparsebench.cases.case import Case
from sparsebench.cases.problem import Problem
from sparsebench.implementations import IMPLEMENTATIONS
from sparsebench.measuring import isolation, oracle, verification, worker
from sparsebench.measuring.refusals import refusal
from sparselayers import from_mask

PEERS = {
    "torch_sparse_spmm": "pip install --no-build-isolation torch-scatter==2.1.2",
    "torch_sparse_matmul": "pip install --no-build-isolation torch-scatter==2.1.2",
    "sparselinear": "pip install sparselinear==0.0.5 && pip install --no-build-isolation",
    "sparseprop": "pip install pybind11 setuptools wheel && pip install --no-build-isolation",
    "sparseprop_pixels": "pip install pybind11 setuptools wheel && pip install --no-build",
    "sparselab": "pip install sparselab",
    "scipy_csr": "pip install scipy",
    "dense_compiled": "g++",
}


def case(name: str, **fields: object) -> Case:
    given = {"in_features": 48, "out_features": 32, "sparsity": 0.8, "batch": 16, "threads": 1}
    return Case(**{"implementation": name, "phase": "train_step", **given, **fields})


def problem(*, batch: int, in_features: int, out_features: int) -> Problem:
    """Random, with the first, the last and a middle row and a middle column left empty."""
    generator = torch.Generator().manual_seed(7)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    mask = torch.rand(out_features, in_features, generator=generator) < 0.2
    mask[[0, out_features // 2, -1]] = False
    mask[:, in_features // 2] = False
    connectivity = from_mask(mask)
    return Problem(
        connectivity,
        normal(connectivity.nnz),
        normal(out_features),
        normal(batch, in_features),
        normal(batch, out_features),
    )


@pytest.fixture
def available(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if reason := IMPLEMENTATIONS[name].unavailable():
        pytest.skip(reason)
    return name


LINEAR = PEERS.keys() - {"sparseprop_pixels"}


@pytest.mark.filterwarnings("ignore")  # what other libraries warn of is theirs to mend
@pytest.mark.parametrize("available", sorted(LINEAR - {"dense_compiled"}), indirect=True)
@pytest.mark.parametrize(("in_features", "out_features"), [(48, 32), (37, 50)])
@pytest.mark.parametrize("batch", [1, 16, 17])
def test_peer_gives_the_output_and_gradients_of_the_oracle(
    available: str, batch: int, in_features: int, out_features: int, tmp_path
) -> None:
    given = problem(batch=batch, in_features=in_features, out_features=out_features)
    torch.save(oracle.expected(given), tmp_path / "expected.pt")
    implementation = IMPLEMENTATIONS[available]
    implementation.load()
    module = implementation.build(given)
    assert len(list(module.parameters())) == (2 if implementation.trains else 0)
    errors = verification.verify(implementation, module, given, tmp_path / "expected.pt")
    assert len(errors) == (4 if implementation.trains else 1)
    assert max(errors.values()) < 1e-5
    assert module(given.x).requires_grad == implementation.trains


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "available", sorted(LINEAR - {"dense_compiled", "scipy_csr"}), indirect=True
)
def test_peer_computes_with_the_weights_an_optimizer_changed(available: str) -> None:
    given = problem(batch=3, in_features=20, out_features=12)
    implementation = IMPLEMENTATIONS[available]
    implementation.load()
    module = implementation.build(given)
    untouched = given.values.clone()
    given.x.requires_grad_()
    module(given.x).backward(given.dy)
    before = given.x.grad
    given.x.grad = None
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(2)
        exact = oracle.expected(given)["output"]
        assert torch.allclose(module(given.x).double(), 2 * exact, atol=1e-5)
    module(given.x).backward(given.dy)
    assert torch.allclose(given.x.grad, 2 * before, atol=1e-5)
    assert torch.equal(given.values, untouched), "the problem's numbers are copied, not taken"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("available", ["sparseprop", "sparseprop_pixels"], indirect=True)
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 1), (1, 2)])
def test_convolution_of_a_peer_gives_the_output_and_gradients_of_the_oracle(
    available: str, kernel: int, stride: int, tmp_path
) -> None:
    of = case(
        available, operation="conv2d", in_features=8, out_features=6, kernel=kernel, stride=stride,
        padding=kernel // 2, image=9, batch=8, threads=torch.get_num_threads(),
    )  # fmt: skip
    assert IMPLEMENTATIONS[available].unsupported(of) is None
    worker.prepare(of, tmp_path)
    outcome = worker.measure(of, tmp_path, 1e-4, None)
    assert outcome.status == "ok", outcome.message
    assert max(outcome.errors.values()) < 1e-5


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"batch": 17}, "multiple of 8 images"),
        ({"stride": 3}, "strides 1 and 2, not 3"),
        ({"groups": 2}, "knows no groups"),
        ({"in_features": 4096}, "indices may be wrong"),
    ],
)
def test_sparseprop_refuses_convolutions_that_it_does_not_know(fields, reason) -> None:
    window = {"operation": "conv2d", "kernel": 3, "padding": 1, "image": 8}
    of = case("sparseprop", **{**window, **fields})
    assert reason in str(IMPLEMENTATIONS["sparseprop"].unsupported(of))


def test_the_kernel_over_pixels_takes_any_batch() -> None:
    of = case("sparseprop_pixels", operation="conv2d", kernel=3, image=8, batch=17)
    assert IMPLEMENTATIONS["sparseprop_pixels"].unsupported(of) is None
    assert "linear" in str(IMPLEMENTATIONS["sparseprop_pixels"].unsupported(case("x")))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("available", ["dense_compiled"], indirect=True)
def test_compiled_dense_is_compiled_once_built(available: str, tmp_path) -> None:
    given = problem(batch=16, in_features=48, out_features=32)
    torch.save(oracle.expected(given), tmp_path / "expected.pt")
    implementation = IMPLEMENTATIONS[available]
    module = implementation.build(given)
    with torch.compiler.set_stance("fail_on_recompile"):
        errors = verification.verify(implementation, module, given, tmp_path / "expected.pt")
        phases.step(module, given.x, given.dy, "inference")()
    assert max(errors.values()) < 1e-5


@pytest.mark.parametrize("name", PEERS)
def test_peer_that_is_missing_is_listed_with_the_command_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparsebench.implementations.base.find_spec", lambda _: None)
    monkeypatch.setattr("shutil.which", lambda _: None)
    reason = refusal(case(name))
    assert reason is not None
    assert f"install with: {PEERS[name]}" in reason or "apt-get install g++" in reason


@pytest.mark.parametrize("name", ["sparseprop", "sparselab", "scipy_csr", "sparselinear"])
def test_peer_refuses_types_it_does_not_compute_in(name: str) -> None:
    reason = IMPLEMENTATIONS[name].unsupported(case(name, dtype="bfloat16", phase="inference"))
    assert reason is not None
    assert "bfloat16" in reason
    assert "float32" in reason


def test_scipy_is_for_inference_alone() -> None:
    assert IMPLEMENTATIONS["scipy_csr"].unsupported(case("scipy_csr", phase="inference")) is None
    assert "backward" in str(IMPLEMENTATIONS["scipy_csr"].unsupported(case("scipy_csr")))


def test_sparseprop_is_refused_where_its_indices_would_be_wrong() -> None:
    wide = case("sparseprop", in_features=8192, out_features=8192, sparsity=0.7)
    assert "2^24" in str(IMPLEMENTATIONS["sparseprop"].unsupported(wide))


@pytest.mark.parametrize("name", ["torch_sparse_spmm", "sparselinear"])
def test_intermediate_results_of_spmm_count_as_needed_memory(name: str) -> None:
    wide = case(name, in_features=4096, out_features=4096, batch=512)
    assert IMPLEMENTATIONS[name].bytes_needed(wide) > 4 * wide.nnz * wide.batch * 4


def imported(names: list[str]) -> list[str]:
    return [name for name in names if name in sys.modules]


def test_peers_are_imported_only_where_they_are_measured() -> None:
    modules = [name for peer in PEERS for name in IMPLEMENTATIONS[peer].modules]
    # A process that measures has been forked from one that has imported all implementations.
    assert isolation.call(imported, ["sparsebench.implementations"], timeout_s=600)
    assert isolation.call(imported, modules, timeout_s=600) == []


@pytest.mark.parametrize("name", ["peers", "kernels", "scaling", "overhead", "conv"])
def test_sweeps_ask_for_ours_wherever_they_ask_for_another(name: str) -> None:
    cases = sweep.load(name).cases(["cpu"], [1])
    ours = {case.problem for case in cases if case.implementation == "ours"}
    assert ours >= {case.problem for case in cases}


def test_peers_sweep_asks_for_every_peer_at_every_size_sparsity_and_batch() -> None:
    cases = sweep.load("peers").cases(["cpu"], [2])
    assert {case.implementation for case in cases} >= LINEAR
    asked = itertools.product(
        [(784, 2000), (2048, 2048), (4096, 4096)],
        [0.8, 0.9, 0.95, 0.98, 0.99],
        [1, 16, 64, 128, 512],
        ["inference", "train_step"],
    )
    grid = {
        ((c.in_features, c.out_features), c.sparsity, c.batch, c.phase)
        for c in cases
        if c.implementation == "sparseprop"
    }
    assert grid == set(asked)

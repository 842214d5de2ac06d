"""Making a layer: checked as a layer that is measured, and never the same one twice."""

from dataclasses import replace

import pytest
import torch

import sparselayers as sl
from sparsebench.cases import topologies
from sparsebench.cases.topologies import TOPOLOGIES
from sparsebench.implementations import IMPLEMENTATIONS
from sparsebench.implementations.ours import Ours
from sparsebench.measuring import worker
from sparsebench.measuring.refusals import refusal
from tests.sparsebench.cases.test_case import CASE as SOME

CASE = replace(
    SOME, implementation="tried", sparsity=0.8, threads=torch.get_num_threads(),
    phase="construction",
)  # fmt: skip


@pytest.fixture
def measure(tmp_path, monkeypatch):
    def measure(implementation, **changes):
        case = replace(CASE, **changes)
        monkeypatch.setitem(IMPLEMENTATIONS, "tried", implementation)
        worker.prepare(case, tmp_path)
        return worker.measure(case, tmp_path, 1e-4, None)

    return measure


@pytest.mark.parametrize("topology", sorted(set(TOPOLOGIES) - {"2:4"}))  # which is half sparse
def test_a_layer_of_every_topology_is_made(measure, topology):
    square = {"in_features": 64, "out_features": 64, "sparsity": 0.75}
    outcome = measure(IMPLEMENTATIONS["ours"], topology=topology, **square)
    assert (outcome.status, outcome.message) == ("ok", "")
    assert outcome.times.samples
    assert set(outcome.errors) == {"output", "input", "values", "bias"}


def test_a_dense_one_beside_it(measure):
    outcome = measure(IMPLEMENTATIONS["dense"], in_features=300, out_features=200)
    assert outcome.status == "ok"
    assert outcome.memory.held == pytest.approx(4 * 201 * 300, rel=0.1)
    assert outcome.memory.inference_peak is None


def test_what_a_user_lists_is_there_before(monkeypatch):
    calls = []
    edges = TOPOLOGIES["edges"]
    bring = lambda *a, **k: calls.append(1) or edges.bring(*a, **k)  # noqa: E731 — counts
    monkeypatch.setitem(TOPOLOGIES, "edges", replace(edges, bring=bring))
    make = IMPLEMENTATIONS["ours"].construction(replace(CASE, topology="edges"))
    one, two = make(), make()
    assert calls == [1]
    assert torch.equal(one.connectivity.col, two.connectivity.col)
    generator = torch.Generator().manual_seed(CASE.seed)
    drawn = topologies.draw(replace(CASE, topology="edges"), generator)
    assert torch.equal(one.connectivity.col, drawn.col)
    assert one.connectivity.nnz == CASE.nnz


class _Kept(Ours):
    def construction(self, case):
        layer = super().construction(case)()
        return lambda: layer


class _Others(Ours):
    def construction(self, case):
        return lambda: sl.SparseLinear(case.in_features, case.out_features, sparsity=0.8)


class _Wrong(sl.SparseLinear):
    def forward(self, x):
        return super().forward(x) * 1.01


class _Off(Ours):
    linear = _Wrong


@pytest.mark.parametrize(
    ("implementation", "wrong"),
    [
        (_Kept(), "two calls made one layer"),
        (_Others(), "other connections than those asked for"),
        (_Off(), "differs from the oracle: output"),
    ],
)
def test_what_is_not_the_work_gets_no_time(measure, implementation, wrong):
    outcome = measure(implementation)
    assert outcome.status == "incorrect"
    assert wrong in outcome.message
    assert not outcome.times.samples


def test_what_has_no_construction_says_so():
    assert "no construction" in refusal(replace(CASE, implementation="torch_csr"))
    assert "no construction" in refusal(replace(CASE, implementation="masked"))
    named = replace(CASE, implementation="ours", topology="file:x.smtx@0")
    assert "are read, and not constructed" in refusal(named)
    with pytest.raises(ValueError, match="only linear layers are constructed"):
        replace(CASE, operation="conv2d")

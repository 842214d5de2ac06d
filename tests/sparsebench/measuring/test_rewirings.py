"""What is rewired is checked by the rule before it has a time."""

from dataclasses import replace

import pytest
import torch

import sparselayers as sl
from sparsebench.cases import phases, problem
from sparsebench.implementations import IMPLEMENTATIONS
from sparsebench.implementations.rigl import ByGradient, RigL
from sparsebench.measuring import worker
from sparsebench.measuring.refusals import refusal
from tests.sparsebench.cases.test_case import CASE as SOME

CASE = replace(
    SOME, implementation="wrong", threads=torch.get_num_threads(), phase="rewiring", sparsity=0.8
)
NAMES = ("rigl", "set", "masked_rigl")


@pytest.fixture
def measure(tmp_path, monkeypatch):
    def measure(implementation, phase="rewiring"):
        case = replace(CASE, phase=phase)
        monkeypatch.setitem(IMPLEMENTATIONS, "wrong", implementation)
        worker.prepare(case, tmp_path)
        return worker.measure(case, tmp_path, 1e-4, None)

    return measure


@pytest.mark.parametrize("phase", ["train_step", "rewiring"])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_rewired_has_a_time_and_a_peak(measure, name, phase):
    outcome = measure(IMPLEMENTATIONS[name], phase)
    assert (outcome.status, outcome.message) == ("ok", "")
    assert outcome.times.samples
    assert outcome.memory.training_peak is not None
    assert set(outcome.errors) == {"output", "input", "values", "bias"}


def rewired(name, rounds=1):
    given = problem.make(CASE)
    implementation = IMPLEMENTATIONS[name]
    module = implementation.build(given)
    step = phases.step(module, given.x, given.dy, "rewiring", learning_rate=0.0)
    for _ in range(rounds):
        step()
    return given, implementation.now(module, given)


def test_masked_and_sparse_rigl_grow_the_same_connections():
    """But for what was just dropped, which may grow at once in the published one."""
    given, ours = rewired("rigl")
    _, theirs = rewired("masked_rigl")
    mine, other, old = (p.connectivity.mask() for p in (ours, theirs, given))
    assert mine.sum() == other.sum() == old.sum() == 120
    assert (mine & ~old).sum() == int(phases.REWIRED * 120)
    assert not (other & ~mine & ~old).any()


def test_every_rewiring_moves_connections():
    (_, once), (_, twice) = rewired("set"), rewired("set", 2)
    assert not torch.equal(once.connectivity.mask(), twice.connectivity.mask())


class _Rewired(RigL):
    """RigL whose layer is of another class."""

    def __init__(self, linear):
        self.linear = linear


class _Never(ByGradient):
    def follow(self, optimizer, update_every):
        return lambda: None


class _SmallestGradients(ByGradient):
    class rule(sl.RigL):
        def grow(self, site, count):
            return site.largest(lambda rows: -site.gradient(rows).abs(), count)


class _LargestWeights(ByGradient):
    class rule(sl.RigL):
        def worth(self, site):
            return -site.layer.weights.detach().abs()


@pytest.mark.parametrize(
    ("linear", "wrong"),
    [
        (_Never, "a rewiring grew 0 connections in place of 36"),
        (_SmallestGradients, "a rewiring grew a connection whose gradient is smaller"),
        (_LargestWeights, "a rewiring dropped a connection that is larger"),
    ],
)
def test_what_breaks_the_rule_gets_no_time(measure, linear, wrong):
    outcome = measure(_Rewired(linear))
    assert outcome.status == "incorrect"
    assert outcome.message.startswith(wrong)
    assert not outcome.times.samples


def test_what_keeps_its_connections_is_not_rewired():
    for name in ("dense", "ours", "masked"):
        assert "keeps its connections" in refusal(replace(CASE, implementation=name))
    for name in NAMES:
        assert refusal(replace(CASE, implementation=name)) is None
    with pytest.raises(ValueError, match="only linear layers are rewired"):
        replace(CASE, operation="conv2d")


def test_a_rewiring_takes_no_more_than_a_few_dense_gradients(tmp_path):
    """The peak of RigL's at 1024²: the gradient is formed and chosen from in blocks."""
    case = replace(CASE, implementation="rigl", in_features=1024, out_features=1024, sparsity=0.9)
    worker.prepare(case, tmp_path)
    outcome = worker.measure(case, tmp_path, 1e-4, None)
    assert outcome.status == "ok"
    assert outcome.memory.training_peak < 6 * 4 * 1024**2

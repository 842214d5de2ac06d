"""K-winners: every way to compute them, against the largest units of each sample."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from sparsebench.cases import problem
from sparsebench.implementations import IMPLEMENTATIONS
from sparsebench.implementations.ours import Ours
from sparsebench.implementations.top_k_mask import TopKMask
from sparsebench.measuring import activations, worker
from sparsebench.measuring.refusals import refusal
from tests.sparsebench.cases.test_case import CASE as SOME

CASE = replace(
    SOME, implementation="tried", operation="k_winners", in_features=40, out_features=40,
    sparsity=0.65, threads=torch.get_num_threads(), phase="forward_backward",
)  # fmt: skip
NAMES = [name for name, i in IMPLEMENTATIONS.items() if "k_winners" in i.operations]


@pytest.fixture
def measure(tmp_path, monkeypatch):
    def measure(implementation, **changes):
        case = replace(CASE, **changes)
        monkeypatch.setitem(IMPLEMENTATIONS, "tried", implementation)
        worker.prepare(case, tmp_path)
        return worker.measure(case, tmp_path, 1e-4, None)

    return measure


@pytest.mark.parametrize(
    "changes", [{}, {"phase": "inference"}, {"in_features": 6, "out_features": 6, "image": 5}]
)
@pytest.mark.parametrize("name", NAMES)
def test_what_lets_the_largest_through_has_a_time(measure, name, changes):
    outcome = measure(IMPLEMENTATIONS[name], **changes)
    assert (outcome.status, outcome.message) == ("ok", "")
    assert outcome.times.samples
    assert {"output", "input"} <= set(outcome.errors)
    assert max(outcome.errors.values()) == 0.0


def test_everything_that_the_brief_of_k_winners_names_is_there():
    assert set(NAMES) == {"dense", "ours", "top_k_mask", "nupic_formula"}


def test_the_oracle_by_hand():
    x = torch.tensor([[1.0, -2.0, 3.0, 0.5]])
    given = replace(problem.make(replace(CASE, batch=1)), x=x, dy=torch.ones_like(x), winners=2)
    right = torch.tensor([[1.0, 0.0, 3.0, 0.0]])
    assert set(activations.errors(given, right, (right != 0).float(), None).values()) == {0.0}
    boosted = torch.tensor([1.0, 1.0, 1.0, 4.0])
    other = torch.tensor([[0.0, 0.0, 3.0, 0.5]])
    assert activations.errors(given, other, (other != 0).float(), boosted)["output"] == 0.0
    assert activations.errors(given, right, None, boosted)["output"] > 0.1
    # Equal to the threshold: either may win, but not both.
    tied = replace(given, x=torch.tensor([[1.0, 1.0, 3.0, 0.5]]))
    for row in ([1.0, 0.0, 3.0, 0.0], [0.0, 1.0, 3.0, 0.0]):
        assert set(activations.errors(tied, torch.tensor([row]), None, None).values()) == {0.0}
    both = activations.errors(tied, torch.tensor([[1.0, 1.0, 3.0, 0.0]]), None, None)
    assert both["winners"] == 0.5


class _Off(TopKMask):
    def __init__(self, more=0, boosted=False):
        self.more, self.boosted = more, boosted

    def activation(self, given):
        module = super().activation(replace(given, winners=given.winners + self.more))
        if self.boosted:
            module.forward = lambda x: 1.01 * type(module).forward(module, x)
        return module


class _Remembers(Ours):
    """Counts who wins, and forgets it when it lets units through."""

    def boost(self, module):
        return torch.ones_like(super().boost(module))


@pytest.mark.parametrize(
    ("implementation", "wrong"),
    [
        (_Off(more=1), "differs from the oracle: output by"),
        (_Off(boosted=True), "output by"),
        (_Remembers(), "after timing, on numbers drawn from"),
    ],
)
def test_what_is_wrong_gets_no_time(measure, implementation, wrong):
    outcome = measure(implementation)
    assert outcome.status == "incorrect"
    assert wrong in outcome.message
    assert not outcome.times.samples


def test_nothing_is_measured_that_there_is_not():
    assert "operation k_winners" in refusal(replace(CASE, implementation="torch_csr"))
    with pytest.raises(ValueError, match="no weights to train"):
        replace(CASE, phase="train_step")
    with pytest.raises(ValueError, match="as many as in_features"):
        replace(CASE, in_features=41)
    assert isinstance(IMPLEMENTATIONS["dense"].activation(problem.make(CASE)), nn.ReLU)

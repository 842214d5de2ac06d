"""Zeros by magnitude: as many as asked for, in the right places, in every kind of layer."""

import pytest
import torch
from torch import nn

from sparsebench.errors import InputError
from sparsebench.models import pruning


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(30, 8)
        self.conv = nn.Conv2d(4, 8, 3)
        self.attention = nn.MultiheadAttention(8, 2)
        self.other = nn.MultiheadAttention(8, 2, kdim=4, vdim=4)
        self.head = nn.Linear(8, 30)
        self.head.weight = self.embedding.weight
        self.zero = nn.Linear(8, 10)
        nn.init.zeros_(self.zero.weight)


PATHS = {
    "conv.weight",
    "attention.in_proj_weight",
    "attention.out_proj.weight",
    "other.q_proj_weight",
    "other.k_proj_weight",
    "other.v_proj_weight",
    "other.out_proj.weight",
    "zero.weight",
}


def weights(model):
    return {name: p for name, p in model.named_parameters() if name in PATHS}


@pytest.mark.parametrize("distribution", ["uniform", "global", "er", "erk"])
def test_the_smallest_go_everywhere_but_in_tied_embeddings(distribution):
    torch.manual_seed(0)
    model, before = Net(), Net()
    before.load_state_dict(model.state_dict())
    pruning.prune(model, 0.75, distribution)
    found, original = weights(model), weights(before)
    total = sum(w.numel() for w in found.values())
    kept = sum(int(w.count_nonzero()) for w in found.values())
    assert kept == pytest.approx(0.25 * total, abs=len(found))
    thresholds = []
    for name, weight in found.items():
        if name == "zero.weight":  # drawn: something to prune
            assert 0 < int(weight.count_nonzero()) < weight.numel()
            continue
        there = weight != 0
        assert torch.equal(weight[there], original[name][there])
        assert there.any()
        gone = original[name][~there].abs()
        if gone.numel():
            assert gone.max() <= original[name][there].abs().min()
            thresholds.append((gone.max(), original[name][there].abs().min(), int(there.sum())))
        if distribution == "uniform":
            assert int(there.sum()) == round(0.25 * weight.numel())
    if distribution == "global":  # one threshold for all, but for the best weight of a layer
        assert max(t[0] for t in thresholds) <= min(t[1] for t in thresholds if t[2] > 1)
    others = [n for n, _ in model.named_parameters() if n not in PATHS]
    assert "embedding.weight" in others
    state = before.state_dict()
    assert all(torch.equal(model.state_dict()[name], state[name]) for name in others)


def test_masks_are_where_weights_are():
    model = Net()
    pruning.prune(model, 0.5)
    for weight, mask in pruning.masks(model):
        assert torch.equal(mask, model.get_parameter(f"{weight.path}.{weight.name}") != 0)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (nn.Linear(2, 2), (1.0,), r"sparsity must be in \[0, 1\), got 1.0"),
        (nn.Linear(2, 2), (0.5, "even"), "distribution must be one of uniform, global, er, erk"),
        (nn.ReLU(), (0.5,), "ReLU has no layer whose weights could be zero"),
    ],
)
def test_bad_arguments(model, arguments, message):
    with pytest.raises(InputError, match=message):
        pruning.prune(model, *arguments)

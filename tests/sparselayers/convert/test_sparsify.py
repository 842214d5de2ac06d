"""sparsify: what is measured, what is chosen, and that the model is left as it was."""

import copy

import pytest
import torch
from torch import nn

import sparselayers as sl
from sparselayers import sparsify
from sparselayers.convert import convert, measure, swap
from sparselayers.convert.whole import compare_models

CPU = torch.device("cpu")


def zeroed(layer, sparsity):
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        layer.weight[torch.rand(layer.weight.shape, generator=generator) < sparsity] = 0
    return layer


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = zeroed(nn.Conv2d(3, 8, 3, padding=1), 0.9)
        self.norm = nn.BatchNorm2d(8)
        self.shared = zeroed(nn.Linear(8, 8), 0.85)
        self.dense = zeroed(nn.Linear(8, 8), 0.5)
        self.unused = zeroed(nn.Linear(8, 8), 0.9)
        self.head = nn.Sequential(zeroed(nn.Linear(8, 4), 0.9))

    def forward(self, x):
        x = self.norm(self.stem(x)).relu().mean((2, 3))
        return self.head(self.dense(self.shared(self.shared(x))))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net()


def choose(monkeypatch, faster):
    """Let the sparse layer be faster where `faster(dense layer's type)`."""
    original = swap.compare

    def fake(first, second, **options):
        first(), second()
        ratio = faster.pop(0)
        return measure.Times(1.0, ratio, 0.9 * ratio, 1.1 * ratio, 9)

    assert original is measure.compare
    monkeypatch.setattr(swap, "compare", fake)
    whole = measure.Times(1.0, 0.9, 0.8, 0.95, 9)
    monkeypatch.setattr(swap, "compare_models", lambda *_, **__: whole)


def test_only_layers_that_are_surely_faster_are_swapped(model, monkeypatch):
    before = copy.deepcopy(model.state_dict())
    x = torch.randn(4, 3, 6, 6)
    expected = copy.deepcopy(model)(x)
    choose(monkeypatch, [0.5, 0.95, 2.0])
    result = sparsify(model, x, threshold=0.8)
    assert [(d.path, d.chosen) for d in result.decisions] == [
        ("stem", "sparse"),
        ("shared", "dense"),  # its interval contains 1
        ("head.0", "dense"),
    ]
    assert isinstance(result.model.stem, sl.SparseConv2d)
    assert type(result.model.shared) is nn.Linear
    assert result.skipped == {
        "dense": f"{1 - int(model.dense.weight.count_nonzero()) / 64:.1%} of its weights are zero",
        "unused": "the example input does not reach it",
    }
    torch.testing.assert_close(result.model(x), expected)
    assert type(model.stem) is nn.Conv2d
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_table_shows_what_was_measured(model, monkeypatch, capsys):
    choose(monkeypatch, [0.25, 2.0, 2.0])
    result = sparsify(model, torch.randn(4, 3, 6, 6), verbose=True)
    printed = capsys.readouterr().out
    assert result.table() in printed
    head, _, stem, *_ = printed.splitlines()
    for column in ("layer", "shape", "sparsity", "dense ms", "sparse ms", "chosen", "bytes saved"):
        assert column in head
    sparse = convert(model.stem, "csr")
    saved = 4 * (model.stem.weight.numel() - 2 * sparse.weights.numel() - 9)
    assert stem.split() == [
        "stem", "8×3×3×3", f"{sparse.sparsity:.1%}", "1000.000", "250.000", "sparse", f"{saved:,}"
    ]  # fmt: skip
    assert result.bytes_saved == saved


def test_by_memory(model, monkeypatch):
    choose(monkeypatch, [9.0] * 3)
    result = sparsify(model, torch.randn(4, 3, 6, 6), criterion="memory")
    assert {d.chosen for d in result.decisions if d.bytes_saved > 0} == {"sparse"}
    assert isinstance(result.model.stem, sl.SparseConv2d)


def test_measures_for_real():
    model = nn.Sequential(zeroed(nn.Linear(1500, 1500), 0.995))
    result = sparsify(model, torch.randn(32, 1500), seconds=0.1)
    (decision,) = result.decisions
    assert decision.times.low <= decision.times.ratio <= decision.times.high
    assert decision.times.samples >= measure.LEAST
    assert (decision.chosen == "sparse") == (decision.times.high < 1)


def test_hooks_are_not_called_by_measuring(model):
    calls = []
    model.stem.register_forward_hook(lambda *_: calls.append(1))
    result = sparsify(model, torch.randn(4, 3, 6, 6), threshold=0.88, skip=["head.0"], seconds=0)
    assert len(calls) == 1
    assert result.skipped["head.0"] == "asked to skip"
    result.model.stem(torch.randn(4, 3, 6, 6))
    assert len(calls) == 2


def test_frozen_layers_and_inference(model):
    model.requires_grad_(False)
    sparsify(model, torch.randn(4, 3, 6, 6), seconds=0)
    model.requires_grad_(True)
    sparsify(model, (torch.randn(4, 3, 6, 6),), training=False, seconds=0)


def test_bad_input(model):
    before = copy.deepcopy(model.state_dict())
    x = torch.randn(4, 3, 6, 6)
    with pytest.raises(RuntimeError, match="channels"):  # PyTorch's own error
        sparsify(model, torch.randn(4, 2, 6, 6))
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\], got 80"):
        sparsify(model, x, threshold=80)
    with pytest.raises(ValueError, match="criterion must be one of time, memory, got 'speed'"):
        sparsify(model, x, criterion="speed")
    with pytest.raises(ValueError, match="no Linear or Conv2d or Conv1d 'norm' to skip"):
        sparsify(model, x, skip=["norm"])
    with pytest.raises(ValueError, match="format must be one of coo, csr"):
        sparsify(model, x, format="dense")
    assert all(module.training for module in model.modules())
    assert not model.stem._forward_pre_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_interval_of_a_median():
    # Order statistics 2 and 9 of ten samples enclose the median in 97.9% of all cases.
    assert measure._interval([float(i) for i in range(1, 11)]) == (2.0, 9.0)
    assert measure._interval([1.0]) == (0.0, float("inf"))


def test_a_warm_sample_follows_calls_of_its_own(monkeypatch):
    """The clock is made up: a call takes 1, or 3 where the other one was called before."""
    now, last = [0.0], [""]

    def step(name):
        def call():
            now[0] += 1.0 if last[0] == name else 3.0
            last[0] = name

        return call

    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    cold = measure.compare(step("a"), step("b"), device=CPU, seconds=0)
    assert (cold.first, cold.second, cold.samples) == (3.0, 3.0, measure.LEAST)
    warm = measure.compare(step("a"), step("b"), device=CPU, seconds=0, warm=True)
    assert (warm.first, warm.second, warm.samples) == (1.0, 1.0, measure.LEAST)


def test_the_whole_model_decides_in_the_end(monkeypatch):
    """While it is slower with the chosen layers, the half that gained least goes back."""
    model = nn.Sequential(*(zeroed(nn.Linear(8, 8), 0.9) for _ in range(5)))
    choose(monkeypatch, [0.8, 0.3, 0.5, 2.0, 0.6])
    tried = []

    def whole(model, instead, example, *, training, device, seconds):
        tried.append(sorted(int(n) for n, m in model.named_modules() if m in instead))
        ratio = 1.2 if len(instead) > 1 else 0.9
        return measure.Times(1.0, ratio, ratio, ratio, 9)

    monkeypatch.setattr(swap, "compare_models", whole)
    result = sparsify(model, torch.randn(2, 8))
    assert tried == [[0, 1, 2, 4], [1, 2], [1]]
    assert [d.chosen for d in result.decisions] == ["dense", "sparse", "dense", "dense", "dense"]
    assert [isinstance(m, sl.SparseLinear) for m in result.model] == [False, True, *[False] * 3]
    assert result.whole.ratio == 0.9


def test_a_whole_model_that_never_gains_stays_dense(monkeypatch):
    model = nn.Sequential(*(zeroed(nn.Linear(8, 8), 0.9) for _ in range(5)))
    choose(monkeypatch, [0.5] * 5)
    slower = measure.Times(1.0, 1.5, 1.4, 1.6, 9)
    monkeypatch.setattr(swap, "compare_models", lambda *_, **__: slower)
    result = sparsify(model, torch.randn(2, 8))
    assert {d.chosen for d in result.decisions} == {"dense"}
    assert result.whole is None


def test_times_of_a_whole_model():
    """Both compute, with gradients and without, and leave no trace in the model."""
    model = Net().train()
    before = copy.deepcopy(model.state_dict())
    calls = []
    model.stem.register_forward_hook(lambda *_: calls.append(1))
    instead = {model.stem: convert(model.stem, "csr")}
    x = torch.randn(2, 3, 6, 6)
    for training in (True, False):
        times = compare_models(model, instead, x, training=training, device=CPU, seconds=0)
        assert times.samples == measure.LEAST
    assert not calls
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[name]) for name, v in model.state_dict().items())
    # A model whose own hook makes its input fit is not timed.
    model.register_forward_pre_hook(lambda _, args: (args[0][:, :3],))
    wide = torch.randn(2, 5, 6, 6)
    assert compare_models(model, {}, wide, training=False, device=CPU, seconds=0) is None

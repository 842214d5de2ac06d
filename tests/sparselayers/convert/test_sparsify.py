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
    zeros = 1 - int(model.dense.weight.count_nonzero()) / 64
    assert result.skipped == {
        "dense": f"{zeros:.1%} of its weights are zero, measured from 80% on",
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
    columns = ("layer", "shape", "sparsity", "dense ms", "sparse ms", "sparse / dense", "chosen")
    for column in (*columns, "bytes saved"):
        assert column in head
    sparse = convert(model.stem, "csr")
    saved = 4 * (model.stem.weight.numel() - 2 * sparse.weights.numel() - 9)
    assert stem.split() == [
        "stem", "8×3×3×3", f"{sparse.sparsity:.1%}", "1000.000", "250.000", "0.25", "(0.23–0.28)",
        "sparse", f"{saved:,}",
    ]  # fmt: skip
    assert result.bytes_saved == saved
    assert (
        "The whole model: dense 1000.000 ms, sparse 900.000 ms, sparse / dense 0.90 (0.80"
        in printed
    )


def test_every_layer_that_stays_dense_says_why_and_from_when_it_could_pay(model, monkeypatch):
    """By a time that falls no faster than the connections: twice as slow at 90%, not below 95%."""
    choose(monkeypatch, [0.5, 0.95, 2.0])
    result = sparsify(model, torch.randn(4, 3, 6, 6))
    zeros = convert(model.head[0], "csr").sparsity
    assert result.reasons == {
        "shared": f"not surely faster: it takes 0.95 (0.85–1.04) of the dense time at "
        f"{convert(model.shared, 'csr').sparsity:.1%} zeros",
        "head.0": f"slower: it takes 2.00 (1.80–2.20) of the dense time at {zeros:.1%} zeros; it "
        f"could pay from {1 - (1 - zeros) / 2:.1%} on, hardly before",
        "dense": f"not measured: {result.skipped['dense']}",
        "unused": "not measured: the example input does not reach it",
    }
    assert [d.reason for d in result.decisions if d.chosen == "sparse"] == [""]
    for path, why in result.reasons.items():
        assert f"{path} stays dense: {why}" in result.table()
    assert result.notes == ()


def test_a_model_without_a_layer_that_is_sparse_enough_is_told_so(capsys):
    model = nn.Sequential(zeroed(nn.Linear(64, 64), 0.5), nn.Linear(64, 8))
    result = sparsify(model, torch.randn(2, 64), threshold=0.75, verbose=True)
    zeros = 1 - int(model[0].weight.count_nonzero()) / 64**2
    assert result.notes == (
        "No layer was measured: the model is as it was.",
        f"Layers are measured from 75% zeros on; of those below, 0 has most, {zeros:.1%}: prune "
        "the model first, or lower threshold.",
    )
    said = capsys.readouterr().out
    assert (
        f"0 stays dense: not measured: {zeros:.1%} of its weights are zero, measured from" in said
    )
    assert all(note in said for note in result.notes)


def test_by_memory_it_says_from_when_a_layer_is_smaller(monkeypatch):
    """Of 8 × 8 weights, a number and an index each for what exists, and 9 pointers of rows."""
    layer = nn.Linear(8, 8)
    layer.weight.data.view(-1)[:30] = 0
    result = sparsify(nn.Sequential(layer), torch.randn(2, 8), criterion="memory", threshold=0)
    (decision,) = result.decisions
    assert decision.bytes_saved == 4 * 64 - 8 * 34 - 4 * 9 == -52
    # 27 connections: 8 · 27 + 36 = 252 < 256 bytes; 28 are 260.
    assert decision.reason == (
        f"not smaller: it takes 52 bytes more at {30 / 64:.1%} zeros, and fewer from "
        f"{37 / 64:.1%} on"
    )


SCATTERED = measure.Times(1.0, 0.4, 0.2, 3.0, 9, scatter=1.5)
CALM = measure.Times(1.0, 0.4, 0.38, 0.42, 9, scatter=0.1)


def taking(monkeypatch, *times):
    """Let the times of layers be these, one after the other, and the whole model be faster."""
    left, taken = list(times), []

    def fake(first, second, **options):
        taken.append(left.pop(0))
        return taken[-1]

    monkeypatch.setattr(measure, "_PAUSE", 0.0)
    monkeypatch.setattr(swap, "compare", fake)
    monkeypatch.setattr(swap, "compare_models", lambda *_, **__: CALM)
    return taken


def test_what_was_disturbed_is_taken_again_after_the_others(monkeypatch):
    """A layer that gains 2.5 times would stay dense by times that other programs spoiled."""
    model = nn.Sequential(*(zeroed(nn.Linear(8, 8), 0.9) for _ in range(3)))
    taken = taking(monkeypatch, SCATTERED, CALM, SCATTERED, SCATTERED, CALM, CALM)
    result = sparsify(model, torch.randn(2, 8), seconds=60)
    assert len(taken) == 3 + 2 + 1
    assert [d.chosen for d in result.decisions] == ["sparse"] * 3
    assert all(isinstance(layer, sl.SparseLinear) for layer in result.model)
    assert result.notes == ()


def test_what_stays_disturbed_is_said_and_the_takes_are_bounded(monkeypatch):
    model = nn.Sequential(*(zeroed(nn.Linear(8, 8), 0.9) for _ in range(2)))
    taken = taking(monkeypatch, SCATTERED, CALM, *[SCATTERED] * 9)
    result = sparsify(model, torch.randn(2, 8), seconds=60)
    assert len(taken) == 2 + measure.TAKES - 1
    assert [d.chosen for d in result.decisions] == ["dense", "sparse"]
    assert result.decisions[0].reason.endswith(", by times that were disturbed")
    assert result.notes == (
        "Times were disturbed and may mislead: those of 0 scatter by more than 50%, as where other "
        "programs take the cores. Sparsify again when the machine is quieter.",
    )
    assert "0.40 (0.20–3.00)!" in result.table()
    # Without time there are no more takes.
    taken = taking(monkeypatch, SCATTERED, CALM)
    sparsify(model, torch.randn(2, 8), seconds=0)
    assert len(taken) == 2


def test_of_many_disturbed_layers_the_first_are_named(monkeypatch):
    model = nn.Sequential(*(zeroed(nn.Linear(8, 8), 0.9) for _ in range(6)))
    taking(monkeypatch, *[SCATTERED] * 6)
    (note,) = sparsify(model, torch.randn(2, 8), seconds=0).notes
    assert "those of 0, 1, 2 and 3 others scatter" in note


def test_slow_alike_is_disturbed_where_the_kernel_says_that_cores_were_lacking(monkeypatch):
    """Beside a program that never rests samples need not scatter: each waits for its core alike."""
    lacking = measure.Times(1.0, 1.1, 1.0, 1.2, 9, scatter=0.01, spoiled=1.0)
    assert lacking.disturbed
    model = nn.Sequential(*(zeroed(nn.Linear(8, 8), 0.9) for _ in range(2)))
    taken = taking(monkeypatch, lacking, SCATTERED, SCATTERED, CALM, lacking)
    result = sparsify(model, torch.randn(2, 8), seconds=60)
    assert len(taken) == 5
    # Of two takes that one counts that had its cores, though its samples scatter.
    assert [d.times for d in result.decisions] == [SCATTERED, CALM]
    taking(monkeypatch, *[lacking, SCATTERED] * measure.TAKES)
    assert sparsify(model, torch.randn(2, 8), seconds=60).notes == (
        "Times were disturbed and may mislead: those of 0 had to wait for a core in most of their "
        "samples; those of 1 scatter by more than 50%, as where other programs take the cores. "
        "Sparsify again when the machine is quieter.",
    )


def test_a_whole_model_that_is_disturbed_is_taken_again_too(monkeypatch):
    model = nn.Sequential(zeroed(nn.Linear(8, 8), 0.9))
    taking(monkeypatch, CALM, CALM)
    slower = measure.Times(1.0, 1.4, 0.4, 3.0, 9, scatter=1.5)
    whole = [slower, CALM]
    monkeypatch.setattr(swap, "compare_models", lambda *_, **__: whole.pop(0))
    result = sparsify(model, torch.randn(2, 8), seconds=60)
    assert (result.whole, [d.chosen for d in result.decisions]) == (CALM, ["sparse"])
    monkeypatch.setattr(swap, "compare_models", lambda *_, **__: slower)
    (decision,) = sparsify(model, torch.randn(2, 8), seconds=60).decisions
    assert (decision.chosen, decision.reason) == (
        "dense",
        "faster by itself, but the whole model is not with it, by times that were disturbed",
    )


def test_the_scatter_of_samples_says_that_something_else_had_the_cores(monkeypatch):
    """The clock is made up: every second call of `a` waits for a core."""
    now, calls = [0.0], [0]

    def waiting():
        calls[0] += 1
        now[0] += 1.0 if calls[0] % 2 else 4.0

    def steady():
        now[0] += 1.0

    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    both = measure.compare(waiting, steady, device=CPU, seconds=0)
    assert both.samples == measure.LEAST
    assert both.scatter == 0.75  # samples of 4, 1, 4, 1, 4, 1, 4: quartiles at 1 and 4
    assert both.disturbed
    assert not measure.compare(steady, steady, device=CPU, seconds=0).disturbed


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

"""The transformer over text: what it computes, how it trains, and for how long."""

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import sparselayers as sl
from sparsebench import cli
from sparsebench.errors import InputError
from sparsebench.training import loop, pace
from sparsebench.training.datasets import Text, text
from sparsebench.training.evaluation import evaluate
from sparsebench.training.pace import Pace
from sparsebench.training.peak import peak_of
from sparsebench.training.records import load
from sparsebench.training.settings import GPTSetting, SettingError
from sparsebench.training.state import Progressing
from sparsebench.training.step_times import time_steps
from sparsebench.training.text import network, testing, windows
from sparsebench.training.views import plots, tables
from sparsebench.training.views.text_table import feed_forward_weights

POEM = """\
The time has come, the walrus said, to talk of many things:
of shoes and ships and sealing wax, of cabbages and kings,
and why the sea is boiling hot, and whether pigs have wings.
"""
SPARSE = GPTSetting(
    experiment="test", row="sparse", layers=2, heads=2, width=16, ff_width=32, context=12, batch=8,
    sparsity=0.5, epochs=3, steps_per_epoch=10, lr=0.01,
)  # fmt: skip
DENSE = replace(SPARSE, row="dense", model="dense", sparsity=0.0)


@pytest.fixture
def poem():
    return Text("poem-12ab", text.encode(8 * POEM), text.encode(POEM))


def outcome(record):
    assert record.status == "ok", record.message
    return [(epoch.loss, epoch.accuracy, epoch.perplexity) for epoch in record.epochs]


def by_hand(model, setting, numbers):
    """Return the logits of one window, computed place by place with dense weights in float64."""
    state = {name: value.double() for name, value in model.state_dict().items()}
    for name, layer in model.named_modules():
        if isinstance(layer, sl.SparseLinear):
            state[f"{name}.weight"] = layer.weight.detach().to_dense().double()

    def linear(name, x):
        y = x @ state[f"{name}.weight"].T
        return y + state[f"{name}.bias"] if f"{name}.bias" in state else y

    def norm(name, x):
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    x = state["characters.weight"][numbers] + state["places.weight"][: len(numbers)]
    each = setting.width // setting.heads
    for block in range(setting.layers):
        at = f"blocks.{block}"
        query, key, value = linear(f"{at}.project", norm(f"{at}.norm", x)).chunk(3, -1)
        attended = torch.zeros_like(x)
        for head in range(setting.heads):
            part = slice(head * each, (head + 1) * each)
            for place in range(len(numbers)):
                scores = key[: place + 1, part] @ query[place, part] / each**0.5
                attended[place, part] = scores.softmax(0) @ value[: place + 1, part]
        x = x + linear(f"{at}.join", attended)
        hidden = linear(f"{at}.up", norm(f"{at}.norm2", x))
        if setting.activation == "gelu":
            hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        else:
            hidden = hidden.clamp(min=0)
        x = x + linear(f"{at}.down", hidden)
    return linear("head", norm("norm", x))


@pytest.mark.parametrize(
    "setting", [DENSE, SPARSE, replace(SPARSE, activation="relu", sparse_blocks="1", heads=4)]
)
def test_loss_and_perplexity_are_those_computed_by_hand(poem, setting):
    model = network.build(setting)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    nats, right = [], []
    for start in range(0, len(poem.test) - 13, 12):
        chosen = poem.test[start : start + 13].long()
        logits = by_hand(model, setting, chosen[:-1])
        chances = logits.exp() / logits.exp().sum(-1, keepdim=True)
        nats += (-chances[torch.arange(12), chosen[1:]].log()).tolist()
        right += (logits.argmax(-1) == chosen[1:]).tolist()
    found = testing.predictions(model, poem, setting)
    assert found["perplexity"] == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-4)
    assert found["accuracy"] == pytest.approx(sum(right) / len(right))
    training = Progressing.start(setting)
    training.network.load_state_dict(model.state_dict())
    first = poem.test[:13].long()
    loss = training.step(first[None, :-1], first[None, 1:])
    assert loss.item() == pytest.approx(sum(nats[:12]) / 12, rel=1e-4)


def test_a_network_that_knows_nothing_is_as_perplexed_as_the_alphabet_is_large(poem):
    model = network.build(SPARSE)
    nn.init.zeros_(model.head.weight)
    found = testing.predictions(model, poem, SPARSE)
    assert found["perplexity"] == pytest.approx(text.SIZE)


@pytest.mark.parametrize("setting", [DENSE, SPARSE])
def test_a_later_character_changes_no_earlier_output(setting):
    model = network.build(setting)
    before = torch.randint(text.SIZE, (3, 12), generator=torch.Generator().manual_seed(0))
    after = before.clone()
    after[:, 7] = (after[:, 7] + 1) % text.SIZE
    with torch.no_grad():
        one, other = model(before), model(after)
    assert torch.equal(one[:, :7], other[:, :7])
    assert not torch.isclose(one[:, 7:], other[:, 7:]).all()
    assert one.shape == (3, 12, text.SIZE)


def test_sparse_with_every_connection_is_dense(poem):
    dense, sparse = network.build(DENSE), network.build(replace(SPARSE, sparsity=0.0))
    for name, layer in dense.named_modules():
        if name.endswith(("up", "down")):
            own = sparse.get_submodule(name)
            own.weights.data = layer.weight.detach().flatten()
            own.bias.data = layer.bias.detach()
        elif name != "" and next(layer.parameters(recurse=False), None) is not None:
            sparse.get_submodule(name).load_state_dict(layer.state_dict())
    x, y = next(windows.windows(poem, DENSE, 0))
    losses = [
        nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
        for model in (dense, sparse)
    ]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
    for loss in losses:
        loss.backward()
    for name in ("blocks.0.up", "blocks.1.down"):
        expected = dense.get_submodule(name).weight.grad.flatten()
        assert torch.allclose(sparse.get_submodule(name).weights.grad, expected, atol=1e-6)


def test_windows_are_the_seeds_and_those_tested_do_not_overlap(poem, monkeypatch):
    made = list(windows.windows(poem, SPARSE, 3))
    assert len(made) == 10
    for x, y in made:
        assert x.shape == y.shape == (8, 12)
        assert torch.equal(x[:, 1:], y[:, :-1])
    again = list(windows.windows(poem, SPARSE, 3, first=8))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(made[8:], again, strict=True))
    other = next(windows.windows(poem, replace(SPARSE, seed=1), 3))
    assert not torch.equal(other[0], made[0][0])
    endless = windows.windows(poem, replace(SPARSE, seconds=1.0), 3)
    assert len(list(itertools.islice(endless, 25))) == 25

    def tested():
        return torch.cat([y for _, y in windows.tested_windows(poem, SPARSE)]).flatten()

    assert torch.equal(tested(), poem.test[1 : len(tested()) + 1].long())
    assert len(poem.test) - 12 <= len(tested()) + 1 <= len(poem.test)
    monkeypatch.setattr(windows, "TESTED", 40)
    assert len(tested()) == 36


@pytest.mark.parametrize(
    "change",
    [
        {"model": "dense", "sparsity": 0.0, "weight_decay": 0.1},
        {"rewiring": "rigl", "update_every": 4, "activation": "relu"},
        {"rewiring": "set", "update_every": 4, "structure": "8x1", "schedule": "constant"},
        {"structure": "2:4", "sparse_blocks": "0"},
    ],
)
def test_a_run_learns_and_one_that_was_killed_ends_like_it(poem, silent, tmp_path, change):
    setting = replace(SPARSE, **change)
    whole = loop.train(setting, poem, silent)
    assert whole.epochs[-1].perplexity < whole.epochs[0].perplexity < text.SIZE
    assert (whole.train_images, whole.test_images) == poem.sizes

    class Killed(BaseException):
        pass

    class Kills:
        begin, step = silent.begin, silent.step

        def epoch(self, number, epoch):
            raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            loop.train(setting, poem, Kills(), folder=tmp_path)
        torch.rand(7)
    resumed = loop.train(setting, poem, silent, folder=tmp_path)
    assert (silent.began[1], resumed.resumed) == (2, 2)
    assert outcome(resumed) == outcome(whole)


@pytest.fixture
def seconds(monkeypatch):
    """A clock that goes on by a second whenever it is asked."""
    ticks = itertools.count()
    monkeypatch.setattr(pace, "clock", lambda: float(next(ticks)))


def test_a_run_trains_for_its_time_however_many_steps_that_are(poem, silent, seconds):
    setting = replace(SPARSE, seconds=30.0)
    record = loop.train(setting, poem, silent)
    outcome(record)
    assert silent.began[2] == 0
    ends = list(itertools.accumulate(epoch.seconds for epoch in record.epochs))
    for end, expected in zip(ends, (10, 20, 30), strict=True):
        assert expected <= end <= expected + 3  # the clock is asked twice a step
    assert all(epoch.steps > 0 for epoch in record.epochs)
    each = [epoch.seconds / epoch.steps for epoch in record.epochs]
    assert record.timing.samples == pytest.approx(each)
    assert record.timing.steps == 1


def test_a_run_with_a_time_goes_on_with_what_is_left_of_it(poem, silent, seconds, tmp_path):
    setting = replace(SPARSE, seconds=30.0)

    class Kills:
        begin, step = silent.begin, silent.step

        def epoch(self, number, epoch):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.train(setting, poem, Kills(), folder=tmp_path)
    record = loop.train(setting, poem, silent, folder=tmp_path)
    assert record.resumed == 1
    assert outcome(record) == outcome(loop.train(setting, poem, silent))
    assert 30 <= sum(epoch.seconds for epoch in record.epochs) <= 33


def test_the_rate_rises_and_falls_with_time_as_with_steps(seconds):
    timed = Pace(replace(SPARSE, seconds=100.0), 10)
    timed.begin(1, spent=40.0)
    assert timed.progress(7) == 0.41
    assert not timed.over(7)
    counted = Pace(SPARSE, 10)
    counted.begin(1, spent=40.0)
    assert counted.progress(7) == 17 / 30
    assert (counted.over(9), counted.over(10)) == (False, True)
    setting = replace(SPARSE, warm_up=0.2, schedule="constant")
    rates = [loop.learning_rate(setting, progress) for progress in (0.0, 0.1, 0.2, 1.0)]
    assert rates == pytest.approx([0.0001, 0.00505, 0.01, 0.01])


def test_the_first_step_learns(poem, silent, monkeypatch):
    monkeypatch.setattr(loop, "peak_of", peak_of)
    setting = replace(SPARSE, epochs=1, steps_per_epoch=1)
    untrained = evaluate(Progressing.start(setting).network, poem, setting)
    record = loop.train(setting, poem, silent)
    assert record.epochs[0].perplexity != untrained["perplexity"]
    assert record.peak_memory > 0


def test_biases_and_norms_do_not_decay_and_sparse_weights_do():
    optimizer = Progressing.start(replace(SPARSE, weight_decay=0.1, momentum=0.8)).optimizer
    assert isinstance(optimizer, torch.optim.AdamW)
    decays, others = ({p.shape for p in g["params"]} for g in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert optimizer.param_groups[0]["betas"][0] == 0.8
    assert torch.Size([256]) in decays  # half of 16 × 32
    assert torch.Size([16]) in others


def test_weights_of_the_feed_forward_parts_are_counted(poem, silent):
    for setting, expected in ((DENSE, 2048), (SPARSE, 1024), (replace(SPARSE, ff_width=64), 2048)):
        record = loop.train(replace(setting, epochs=1, steps_per_epoch=1), poem, silent)
        assert feed_forward_weights(record) == expected
        stored = sum(layer.connections for layer in record.connections)
        assert stored == (0 if setting is DENSE else expected)


def test_times_alone_can_be_taken(poem, tmp_path):
    dense, sparse = time_steps([DENSE, replace(SPARSE, seconds=9.0)], poem, tmp_path, steps=10)
    assert {dense.status, sparse.status} == {"ok"}
    assert len(sparse.timing.samples) == 10
    (table,) = tables.of_training([dense])
    assert table.text["perplexity"].tolist() == ["not yet measured"]
    assert not list(plots.of_training([dense]))


def test_text_that_is_too_short_is_told(poem, silent):
    record = loop.train(replace(SPARSE, context=len(poem.test)), poem, silent)
    assert record.status == "error"
    shortest = len(poem.test)
    assert f"context must be below {shortest}, the characters of the shorter" in record.message


def test_a_table_compares_with_the_best_dense_network(poem, silent):
    records = [
        loop.train(replace(setting, row=f"{setting.row} {lr}", lr=lr), poem, silent)
        for setting, lr in ((DENSE, 0.01), (DENSE, 0.0001), (SPARSE, 0.01))
    ]
    other = loop.train(replace(DENSE, dataset="python-stdlib-ffff"), poem, silent)
    table, foreign = tables.of_training([*records, other])
    assert (table.name, foreign.name) == ("test-1", "test-2")
    last = [record.epochs[-1].perplexity for record in records]
    best = min(last[:2])
    assert table.numbers["over dense"].tolist() == pytest.approx([p / best - 1 for p in last])
    assert table.text["over dense"][0] == "+0.0%"
    assert table.text["steps"].tolist() == ["30"] * 3
    assert table.text["sparsity"].tolist() == ["", "", "50%"]
    assert table.numbers["bits per character"][0] == pytest.approx(math.log2(last[0]))
    assert "python-stdlib-ffff" in foreign.caption
    assert [name for name, _ in plots.of_training(records)] == ["test"]
    assert peak_of(DENSE, poem)[0] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "width must be a multiple of the 3 heads, got 16"),
        ({"sparse_blocks": "0,2"}, "sparse_blocks must be all, or numbers from 0 to 1 with commas"),
        ({"sparse_blocks": ""}, "sparse_blocks must be all, or numbers"),
        ({"seconds": -1.0}, "seconds must be 0 or more, got -1.0"),
        ({"warm_up": 1.0}, r"warm_up must be in \[0, 1\), got 1.0"),
        ({"model": "dense", "rewiring": "set"}, "rewiring must be none for a dense model"),
        ({"model": "masked"}, "model must be one of dense, sparse; got 'masked'"),
        ({"held_out": 5}, "held_out must be 0 for gpt, got 5"),
        ({"processes": 2}, "processes must be 1 for gpt, got 2"),
        ({"nesterov": True}, "nesterov must be false for gpt, got True"),
        ({"structure": "5x1"}, "structure must be one that fits: .* 5"),
        ({"structure": "1:4", "sparsity": 0.9}, r"sparsity must be one that 1:4 has"),
        ({"ff_width": 0}, "ff_width must be at least 1, got 0"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(SettingError, match=message):
        replace(SPARSE, **changes)


TABLE = """\
question = "sparse?"
dataset = "python-stdlib"
[base]
network = "gpt"
layers = 1
heads = 2
width = 16
ff_width = 32
context = 12
seconds = 0.2
epochs = 2
[[rows]]
name = "dense"
model = "dense"
sparsity = 0.0
[[rows]]
name = "sparse {sparsity:.0%}, {ff_width} wide"
ff_width = 64
sparsity = 0.5
"""


def test_the_command_trains_for_seconds_on_sources(tmp_path, monkeypatch):
    (tmp_path / "my.toml").write_text(TABLE)
    (tmp_path / "library").mkdir()
    for name, content in (("a.py", POEM), ("b.py", 3 * POEM)):
        (tmp_path / "library" / name).write_text(content)
    out = tmp_path / "out"
    arguments = ["train", str(tmp_path / "my.toml"), "--data-dir", str(tmp_path / "library")]

    def run(*more):
        result = CliRunner().invoke(cli.app, [*arguments, "--threads", "1", *more])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout

    said = run("--out", str(out))
    assert "dense / seed 0: epoch 2/2, loss " in said
    assert ", perplexity " in said
    records = load(out)
    assert [record.setting.row for record in records] == ["dense", "sparse 50%, 64 wide"]
    for record in records:
        assert record.setting.dataset.startswith("python-stdlib-")
        assert sum(epoch.seconds for epoch in record.epochs) >= 0.2
    assert (out / "plots" / "my.png").exists()
    plain = json.loads(run("--out", str(out), "--json"))
    assert load(out) == records
    assert plain["my"]["rows"][0]["over dense"] == 0.0
    run("--out", str(out), "--row", "dense", "--seconds", "0.1")
    assert [record.setting.seconds for record in load(out)] == [0.2, 0.2, 0.1]
    with pytest.raises(InputError, match="--untimed: rows that train for so many seconds"):
        run("--untimed")
    with pytest.raises(InputError, match="--dataset MNIST: my is made for text like that of pyth"):
        run("--dataset", "MNIST")
    with pytest.raises(InputError, match="--images must be 0 for gpt, got 5"):
        run("--images", "5")

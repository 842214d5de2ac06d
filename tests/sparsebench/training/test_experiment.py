"""Experiments as TOML files: what they ask for, and what bad ones are told."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sparsebench import cli
from sparsebench.errors import InputError
from sparsebench.training import experiment
from sparsebench.training.cifar.schedule import to_time
from sparsebench.training.records import load
from sparsebench.training.settings import CifarSetting, MLPSetting
from sparsebench.training.views import race_plot, structured

TABLE = """\
question = "which rate, and how wide?"
dataset = "mnist-subset"
seeds = 2

[base]
epochs = 1
width = 20

[recipes.sparse]
sparsity = 0.5
lr = 0.1

[[rows]]
name = "dense"
model = "dense"
sparsity = 0.0
lr = 0.01

[[rows]]
name = "sparse {width}, {lr}"
recipe = "sparse"
width = [20, 40]
lr = [0.05, 0.1]
"""
CIFAR = """\
question = "pruned?"
dataset = "CIFAR10"
[base]
network = "resnet18"
batch = 20
[[rows]]
name = "dense"
model = "dense"
[[rows]]
name = "pruned"
start = "dense"
pruning = "gradual"
[[timed]]
name = "other"
pruning = "once"
swap = "sparseprop"
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "my.toml"
        path.write_text(text)
        return str(path)

    return write


def test_a_row_stands_on_a_recipe_and_the_base_and_several_values_make_several_rows(written):
    asked = experiment.load(written(TABLE))
    assert (asked.name, asked.question, asked.seeds) == ("my", "which rate, and how wide?", 2)
    common = {"experiment": "my", "epochs": 1, "dataset": "mnist-subset"}
    assert asked.rows == (
        MLPSetting(row="dense", model="dense", sparsity=0.0, lr=0.01, width=20, **common),
        *(
            MLPSetting(row=f"sparse {width}, {lr}", sparsity=0.5, lr=lr, width=width, **common)
            for width in (20, 40)
            for lr in (0.05, 0.1)
        ),
    )


def test_a_network_chooses_its_kind_of_setting_and_rows_may_be_timed_alone(written):
    asked = experiment.load(written(CIFAR))
    common = {"experiment": "my", "network": "resnet18", "batch": 20, "dataset": "cifar10"}
    dense = CifarSetting(row="dense", model="dense", **common)
    pruned = CifarSetting(row="pruned", start="dense", pruning="gradual", **common)
    other = CifarSetting(row="other", pruning="once", swap="sparseprop", **common)
    assert (asked.rows, asked.timed) == ((dense, pruned), (other,))
    timed = to_time((*asked.rows, *asked.timed))
    assert timed[0] == dense
    assert timed[-1] == other
    assert {setting.pruning for setting in timed[1:]} == {"once"}


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("seeds = 2", "seed = 2", ("line 3: seed = 2", "unknown field: choose from question")),
        ("seeds = 2", "seeds = 0", ("line 3: seeds = 0", "greater than or equal to 1")),
        ("seeds = 2", 'seeds = "2"', ("line 3: seeds = '2'", "valid integer")),
        ("seeds = 2", 'shares = "../x"', ("line 3: shares = '../x'", "match pattern")),
        ("question = ", "# ", ("question is required but missing",)),
        ('"mnist-subset"', '"CIFAR"', ("dataset = 'CIFAR'", "choose from MNIST, FashionMNIST")),
        ('"mnist-subset"', '"CIFAR10"', ("line 2: dataset = 'CIFAR10'", "mlp is not made for")),
        ("width = 20", "widht = 20", ("line 7: base.widht = 20", "unknown field", "name, model")),
        ("width = 20", 'swap = "all"', ("line 7: base.swap = 'all'", "unknown field", "width")),
        ("width = 20", "threads = 2", ("line 7: base.threads = 2", "unknown field")),
        ("width = 20", "width = 20.5", ("line 7: base.width = 20.5", "valid integer")),
        ("width = 20", "width = true", ("line 7: base.width = True", "valid integer")),
        ("width = 20", "width = 0", ("line 7: base.width = 0", "must be at least 1")),
        ("width = 20", 'network = "vgg"', ("line 7: base.network = 'vgg'", "mlp, vgg11_bn")),
        ("[20, 40]", "[20, 0]", ("line 22: rows[1].width[1] = 0", "must be at least 1")),
        ("[20, 40]", "[]", ("line 22: rows[1].width = []", "at least one value")),
        ("lr = 0.1\n", "lr = -1\nmomentum = 1\n", ("recipes.sparse.momentum", "in [0, 1)")),
        ("lr = 0.01", "lr = 0", ("line 17: rows[0].lr = 0", "must be above 0")),
        ("lr = 0.01", 'lr = "fast"', ("line 17: rows[0].lr = 'fast'", "valid number")),
        ("lr = 0.01", "lr = 2024-01-01", ("line 17: rows[0].lr", "valid number")),
        ('"dense"\ns', '"thin"\ns', ("line 15: rows[0].model = 'thin'", "'dense', 'masked'")),
        ('recipe = "sparse"', 'recipe = "x"', ("line 21: rows[1].recipe = 'x'", "from sparse")),
        ('name = "dense"\n', "", ("line 13: rows[0]: needs a name",)),
        ("{lr}", "{rate}", ("line 20: rows[1].name", "'rate'", "fields of the setting")),
        (", {lr}", "", ("line 20: rows[1].name", "'sparse 20' is a row of rows[1] already")),
        ("[[rows]]\nname = \"sparse", "[rows.x]\nname = \"sparse", ("rows[0].x", "line 19")),
        ("seeds = 2", "seeds = = 2", ("line 3",)),
    ],
)  # fmt: skip
def test_an_error_names_file_line_field_value_and_what_is_allowed(written, old, new, parts):
    assert old in TABLE
    path = written(TABLE.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        experiment.load(path)
    for part in (path, *parts):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ('start = "dense"', 'start = "big"', ("line 11: rows[1].start = 'big'", "there are dense")),
        ('name = "dense"', 'name = "dense, big"', ("rows[1].start = 'dense'", "there are none")),
        ('pruning = "gradual"', "", ("rows[1].model", "must be dense with pruning 'none'")),
        ("batch = 20", "width = 20", ("line 5: base.width = 20", "unknown field")),
        ("[[timed]]", "[timed]", ("line 13: timed", "in two brackets")),
    ],
)
def test_rows_of_convolutional_networks_are_checked_alike(written, old, new, parts):
    assert old in CIFAR
    with pytest.raises(InputError) as error:
        experiment.load(written(CIFAR.replace(old, new, 1)))
    for part in parts:
        assert part in str(error.value)


def test_everything_wrong_is_said_at_once_and_each_thing_once(written):
    text = TABLE.replace("epochs = 1", "epochs = 0").replace("lr = 0.01", "lr = 0")
    with pytest.raises(InputError) as error:
        experiment.load(written(text.replace("width = 20\n", "widht = 20\n")))
    (line,) = str(error.value).splitlines()
    assert "base.widht" in line
    with pytest.raises(InputError) as error:
        experiment.load(written(text))
    assert str(error.value).split(": ")[1:] == ["base.epochs = 0", "must be at least 1"]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "my.toml"
    path.write_bytes(b'question = "\xff"')
    with pytest.raises(InputError, match=f"{path}: cannot be read"):
        experiment.load(str(path))


def test_bad_input_ends_the_command_with_exit_code_2(written, tmp_path, monkeypatch, capsys):
    path = written(TABLE.replace("epochs = 1", "epochs = 0"))
    command = ["sparsebench", "train", path, "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    message = f"{path}, line 6: base.epochs = 0: must be at least 1"
    assert message in capsys.readouterr().err.replace("\n", "")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_table_of_ones_own_is_trained_and_resumed(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = written(TABLE.replace("width = [20, 40]\nlr = [0.05, 0.1]", "lr = 0.05"))
    arguments = ["train", path, "--threads", "1", "--untimed"]

    def run(*more):
        result = CliRunner().invoke(cli.app, [*arguments, *more])
        assert result.exit_code == 0, result.exception
        return result.stdout

    listed = json.loads(run("--list", "--json"))
    assert listed[path] == {
        "question": "which rate, and how wide?", "rows": ["dense", "sparse 20, 0.05"],
    }  # fmt: skip
    assert "sparse 20, 0.05 / seed 1: epoch 1/1" in run()
    records = load(tmp_path / "results" / "my")
    assert len(records) == 4
    assert {record.status for record in records} == {"ok"}
    assert min(record.epochs[0].accuracy for record in records) > 0.7
    assert "4 of 4 runs have a record" in run()
    more = run("--seeds", "3", "--row", "dense")
    assert "2 of 3 runs have a record" in more
    assert "dense / seed 2: epoch 1/1" in more


REFERENCE = Path(__file__).parents[3] / "results" / "reference"
# The seeds that every row was trained from; seed 0 of the masked net was timed alone.
SEEDS = {
    "mnist": {0, 1, 2},
    "same-time": {1, 2},
    "same-weights": {0, 1, 2},
    "recipe": set(range(5)),
}
SEEDLESS = {"seed": 0, "threads": 1, "device": "cpu"}


# The ultra-sparse ones, those of structures, of real size and of text were never code.
NEWER = (
    *race_plot.EXPERIMENTS,
    *structured.EXPERIMENTS,
    "ultra-sparse-search",
    "real-size-vgg",
    "real-size-resnet",
    "gpt",
)


@pytest.mark.parametrize("name", [name for name in experiment.names() if name not in NEWER])
def test_records_of_before_are_those_of_the_tables(name):
    """Resume finds what was trained when the experiments were code."""
    asked = experiment.shipped(name)
    records = load(REFERENCE / asked.name)
    seeds = {}
    for record in records:
        own = replace(record.setting, dataset=record.setting.dataset.partition("-")[0], **SEEDLESS)
        seeds.setdefault((own, record.purpose), set()).add(record.setting.seed)
    for setting in asked.rows:
        assert seeds[setting, "accuracy"] >= SEEDS.get(name, {0})
    if asked.timed or name == "cifar-vgg":
        for setting in to_time((*asked.rows, *asked.timed)):
            assert seeds[setting, "time"] == {0}


def test_the_key_of_a_record_is_what_it_was_when_there_was_one_kind_of_setting():
    mlp = load(REFERENCE / "mnist")[0].setting
    assert mlp.key == (
        "experiment=mnist row=dense model=dense topology=random rewiring=none sparsity=0.0 "
        "width=2000 activation=relu output=sparse init=linear update_every=1000 fraction=0.1 "
        "stop_after=150000 dataset=mnist held_out=0 epochs=10 batch=64 lr=0.01 momentum=0.9 "
        f"nesterov=False weight_decay=0.0 schedule=constant seed=0 device=cpu threads={mlp.threads}"
        " processes=1 network=mlp pruning=none swap=all start= images=0"
    )
    for record in load(REFERENCE / "cifar-vgg"):
        if record.origin:
            assert record.origin in {r.setting.key for r in load(REFERENCE / "cifar-vgg")}

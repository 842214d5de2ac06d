"""Many models: what a file asks, what is kept, what is shown, and that a stopped run goes on."""

import json
import os
import signal

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from sparsebench.cli import app
from sparsebench.errors import InputError
from sparsebench.measuring import timing
from sparsebench.models import experiment, measure, run, variants, views
from sparsebench.models.records import Form, Layer, ModelCase, ModelRecord, load
from sparsebench.views.tables import writers
from sparselayers.cores import Strain

HERE = "tests.sparsebench.models.test_models"


def tiny():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))


def failing():
    return nn.Linear(7, 7)


def measure_with_a_crash(case, layer_s, refused=None):
    """As where another library's code ends the process."""
    if not refused:
        os.kill(os.getpid(), signal.SIGSEGV)
    return measure.measure(case, layer_s, refused)


class FailsBackward(nn.Linear):
    """A layer of another library whose backward pass raises."""

    def forward(self, x):
        y = super().forward(x)
        if y.requires_grad:
            y.register_hook(lambda gradient: gradient.view(3))
        return y


ASKED = f"""
question = "What of a tiny network?"
phase = ["inference"]
distribution = ["uniform"]

[[models]]
name = "{HERE}:tiny"
input = [4, 3, 8, 8]

[[models]]
name = "{HERE}:failing"
input = [4, 3, 8, 8]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "asked.toml"
    path.write_text(ASKED)
    return path


def test_another_library_that_ends_the_process_costs_its_own_form_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "measure", measure_with_a_crash)
    case = ModelCase(
        model=f"{HERE}:tiny",
        input=(4, 3, 8, 8),
        sparsity=0.9,
        distribution="uniform",
        phase="inference",
        threads=1,
    )
    (record,) = run.run([case], tmp_path, layer_s=0.0, timeout_s=60.0)
    assert record.status == "ok"
    assert record.forms["sparseprop"].message == "the process was killed by SIGSEGV"
    assert record.forms["sparse"].samples


def test_another_library_that_fails_in_training_costs_its_own_form_alone(monkeypatch):
    monkeypatch.setattr(measure, "sparseprop", lambda dense, example: FailsBackward(6, 6))
    dense, example = nn.Linear(6, 6), torch.randn(4, 6)
    result = measure.swapped(dense, example, "training", seconds=0.0)
    found = measure.forms(dense, result, example, "training")
    assert found["sparseprop"].message.startswith("fails: RuntimeError: ")
    assert all(found[name].samples for name in ("dense", "masked", "sparse"))


def test_a_run_keeps_what_it_measured_and_goes_on(file, tmp_path):
    """Each model in a process of its own: what fails is a row that says why, and tried again."""
    out = tmp_path / "out"
    arguments = ["models", str(file), "--out", str(out), "--seconds", "0"]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    records = {record.case.model: record for record in load(out)}
    whole, failed = records[f"{HERE}:tiny"], records[f"{HERE}:failing"]
    assert failed.status == "error"
    assert "RuntimeError: mat1 and mat2" in failed.message
    assert [layer.path for layer in whole.layers] == ["0", "3"]
    assert (whole.weights, whole.nonzero) == (3096, 310)
    assert whole.forms["sparseprop"].samples or whole.forms["sparseprop"].message
    for name in ("dense", "masked", "sparse"):
        form = whole.forms[name]
        assert len(form.samples) >= measure.LEAST_ROUNDS
        assert min(form.held, form.checkpoint) > 0 <= form.peak
    assert whole.forms["masked"].held > whole.forms["dense"].held == 4 * (3096 + 18)
    assert whole.deviation < 1e-4
    tables = {path.name for path in (out / "tables").iterdir()}
    assert {"models.md", "models.csv", "models-means.md", "models-failed.md"} <= tables
    second = CliRunner().invoke(app, [*arguments, "--json"])
    assert "[1/1]" in second.stderr  # of what failed
    assert "failing" in second.stderr
    assert [r["status"] for r in json.loads(second.stdout)] == ["ok", "error"]
    listed = CliRunner().invoke(app, [*arguments, "--list", "--only", "tiny"]).stdout
    assert listed.startswith(f"model={HERE}:tiny input=4,3,8,8 config= sparsity=0.9")


@pytest.mark.parametrize("name", ["torchvision", "transformers"])
def test_files_that_are_shipped(name):
    asked = experiment.load(name)
    assert len(asked.models) == 10
    assert len(asked.cases(threads=2)) == 40
    assert len({case.key for case in asked.cases(threads=2)}) == 40


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "phase = [",
            "phases = [",
            r"asked.toml, line 3: phases = .*: unknown field: choose from question",
        ),
        ('["inference"]', '["training", "test"]', r"line 3: phase\[1\] = 'test'"),
        ("input = [4, 3, 8, 8]", "input = [4, 0]", r"line 8: models\[0\].input\[1\] = 0"),
        (
            "input = [4, 3, 8, 8]",
            "size = 3",
            r"models\[0\].size = 3: unknown field: choose from name",
        ),
        (f"{HERE}:tiny", "tiny", r"models\[0\].name = 'tiny'"),
    ],
)
def test_a_file_that_is_wrong_is_explained(file, old, new, message):
    file.write_text(ASKED.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        experiment.load(str(file))


def test_no_such_file_or_model(file, tmp_path):
    with pytest.raises(InputError, match="no such file, nor one of torchvision, transformers"):
        experiment.load("none")
    result = CliRunner().invoke(app, ["models", str(file), "--only", "resnet"])
    assert isinstance(result.exception, InputError)
    assert "has no model of --only resnet: it has" in str(result.exception)
    result = CliRunner().invoke(app, ["models", str(file), "--phase", "both"])
    assert isinstance(result.exception, InputError)
    assert "has no --phase both: choose from inference" in str(result.exception)


def test_steps_that_other_work_disturbed_are_taken_again_all_together(monkeypatch):
    """Slow alike is not seen in samples: the kernel says who lacked a core."""
    quiet, lacking = Strain(2.0, 0.0, 0), Strain(1.0, 0.5, 9)
    takes = []

    def turns(*strained):
        said = {name: lacking if name in strained else quiet for name in ("dense", "sparse")}
        return {name: timing.Times([1.0] * 5, strains=[one] * 5) for name, one in said.items()}

    def in_turns(steps, **asked):
        takes.append(asked)
        return left.pop(0)

    monkeypatch.setattr(measure.timing, "in_turns", in_turns)
    monkeypatch.setattr(measure.quality, "conditions", lambda before, after: {})
    monkeypatch.setattr(measure, "PAUSE_S", 0.0)
    left = [turns("dense", "sparse"), turns()]
    calm = measure.undisturbed({}, 5)
    assert len(takes) == 2
    assert [why for _, why in calm.values()] == ["", ""]
    takes.clear()
    left = [turns("dense", "sparse"), turns("sparse"), turns("dense")]
    found = measure.undisturbed({}, 5)
    assert len(takes) == measure.TAKES
    assert found["dense"][1] == ""
    assert found["sparse"][1] == "other work had a core in 5 of 5 samples"


def test_what_was_disturbed_is_marked_and_decides_nothing():
    calm, lacking = (recorded(name, [2.0] * 5, [1.0] * 5) for name in ("a:calm", "a:lacking"))
    dense = lacking.forms["dense"].model_copy(
        update={"disturbed": "other work", "samples": [9.0] * 5}
    )
    layer = lacking.layers[0].model_copy(update={"disturbed": True})
    lacking = lacking.model_copy(
        update={"forms": lacking.forms | {"dense": dense}, "layers": [layer]}
    )
    shown = views.overview([calm, lacking])
    assert shown.text["sparse"].tolist() == ["2.0×", "9.0×!"]
    assert shown.text["dense"].tolist() == ["2.00 s", "9.00 s!"]
    assert "disturbed by other work" in writers.conditions(shown)
    mean = views.means([calm, lacking])
    assert mean.text["models"].tolist() == ["1 of 2"]
    assert mean.numbers["sparse"].tolist() == [2.0]
    assert views.layers(lacking.layers).text["sparse / dense"].tolist() == ["0.50! (0.40–∞)"]


def recorded(model, dense, sparse, phase="inference"):
    form = {"held": 1000, "peak": 500, "checkpoint": 2000}
    layer = Layer(
        path="fc",
        kind="Linear",
        shape=(4, 4),
        input_shape=(1, 4),
        sparsity=0.9,
        dense_s=2e-3,
        sparse_s=1e-3,
        low=0.4,
        high=None,
        chosen="sparse",
        bytes_saved=7,
    )
    return ModelRecord(
        case=ModelCase(model=model, input=(1, 4), phase=phase),
        weights=100,
        nonzero=10,
        layers=[layer],
        forms={
            "dense": Form(samples=dense, **form),
            "masked": Form(samples=dense, **form),
            "sparse": Form(samples=sparse, **form),
            "sparseprop": Form(message="not installed"),
        },
    )


def test_tables():
    """Ratios of medians; geometric means over models; the slowest by name."""
    records = [
        recorded("torchvision:a", [4.0, 4.4, 4.2], [1.0, 1.1, 1.05]),
        recorded("torchvision:b", [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]),
    ]
    tables = {table.name: table for table in views.tables(records)}
    overview = tables["models"]
    assert overview.numbers["sparse"].tolist() == pytest.approx([4.0, 1.0])
    assert overview.numbers["masked"].tolist() == pytest.approx([1.0, 1.0])
    assert overview.numbers["memory sparse [B]"].tolist() == [1500, 1500]
    assert overview.text["SparseProp"].tolist() == ["–", "–"]
    assert overview.text["layers"].tolist() == ["1 of 1"] * 2
    (mean,) = tables["models-means"].numbers.itertuples()
    assert mean.sparse == pytest.approx(2.0)
    assert tables["models-means"].text["slowest, sparse"].tolist() == ["1.0× b"]
    (shown,) = views.layers(records[0].layers).text.to_dict("records")
    assert shown["sparse / dense"] == "0.50 (0.40–∞)"
    assert "not installed" in str(views.plain(records)[0]["forms"]["sparseprop"])


def test_outputs_that_differ_are_an_error(monkeypatch):
    """A record is only of a model that computes what the dense one does."""
    monkeypatch.setattr(measure, "deviation", lambda *_: 2e-4)
    case = ModelCase(model=f"{HERE}:tiny", input=(2, 3, 8, 8), threads=torch.get_num_threads())
    with pytest.raises(ArithmeticError, match=r"outputs differ by 2\.0e-04 of the largest"):
        measure.measure(case, 0.0)


def test_how_far_outputs_are_apart():
    dense, other = nn.Linear(3, 2), nn.Linear(3, 2)
    other.load_state_dict(dense.state_dict())
    with torch.no_grad():
        other.bias += 0.5
    x = torch.randn(4, 3)
    expected = 0.5 / float(dense(x).detach().abs().max())
    assert variants.deviation(other, dense, x) == pytest.approx(expected, rel=1e-4)


def test_the_size_of_a_checkpoint_is_that_of_the_file(tmp_path):
    model = tiny()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    assert abs(measure.checkpoint_size(model) - (tmp_path / "model.pt").stat().st_size) < 500

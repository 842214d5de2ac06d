"""Schedules of runs that are shorter than their rows say, and what such a run ends with."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from sparsebench import cli
from sparsebench.errors import InputError
from sparsebench.training import experiment, records
from sparsebench.training.proportion import in_proportion
from sparsebench.training.settings import CifarSetting, MLPSetting

ROWS = {row.row: row for row in experiment.shipped("ultra-sparse-mnist").rows}
STEPS = ("update_every", "stop_after", "anneal_from", "anneal_until")


def steps_of(row, images=60_000, given=(), **changes):
    (made,), moved = in_proportion([replace(row, **changes)], [row], images, given=given)
    return [getattr(made, name) for name in STEPS], moved


def test_what_ends_within_the_training_ends_at_the_same_share_of_a_shorter_one():
    granet = ROWS["GraNet 99%"]
    assert steps_of(granet)[0] == [1875, 140_625, 0, 93_750]
    found, moved = steps_of(granet, epochs=4)
    assert found == [1875, 5625, 0, 3750]
    assert moved[0] == "stop_after 5,625 in place of 140,625"
    # 10,000 images in batches of 50: 200 steps an epoch, and still one rewiring in each.
    assert steps_of(granet, images=10_000, epochs=4, batch=50)[0] == [200, 600, 0, 400]
    assert steps_of(granet, images=320, epochs=1)[0] == [10, 8, 0, 5]
    assert steps_of(granet, epochs=4, stop_after=7, given=["stop_after"])[0] == [1875, 7, 0, 3750]
    assert steps_of(ROWS["SET as published 99%"], epochs=4)[0][1] == 7500

    rows = {row.row: row for row in experiment.shipped("structures-vgg").rows}
    ((made,), _) = in_proportion(
        [replace(rows["8x1 90%, RigL"], epochs=6)], [rows["8x1 90%, RigL"]], 20_000, given=()
    )
    assert (made.update_every, made.stop_after) == (20, 360)  # of 480 steps
    still = rows["8x1 90%"]
    assert in_proportion([replace(still, epochs=6)], [still], 20_000, given=())[1] == []


def test_what_has_no_end_within_the_training_stays():
    static, dense = ROWS["static 99%"], ROWS["dense"]
    for row in (static, dense):
        assert steps_of(row, epochs=4) == ([getattr(row, name) for name in STEPS], [])
    mnist = {row.row: row for row in experiment.shipped("mnist").rows}["RigL"]
    assert steps_of(mnist, epochs=4)[0] == [getattr(mnist, name) for name in STEPS]
    cifar = CifarSetting(experiment="x", row="dense", model="dense", network="resnet18")
    assert in_proportion([cifar], [cifar], 50, given=()) == ([cifar], [])


def test_a_training_that_ends_before_it_is_sparse_is_refused():
    row = MLPSetting(
        experiment="x", row="half", epochs=2, batch=100, annealing="cubic", anneal_until=1201,
    )  # fmt: skip
    message = "row 'half' becomes sparser until step 1201, .* ends at step 1200: choose 1200 or"
    with pytest.raises(InputError, match=message):
        in_proportion([row], [row], 60_000, given=())
    whole = replace(row, anneal_until=1200)
    assert in_proportion([whole], [whole], 60_000, given=())[0] == [whole]


def test_a_quick_run_of_the_challenge_ends_as_sparse_as_its_row_and_is_compared(tmp_path):
    names = ["dense", "GraNet 99%"]
    arguments = ["train", "ultra-sparse-mnist", "--dataset", "mnist-subset", "--width", "64"]
    arguments += ["--images", "320", "--epochs", "2", "--threads", "1", "--out", str(tmp_path)]
    for name in names:
        arguments += ["--row", name]
    result = CliRunner().invoke(cli.app, [*arguments, "--seeds", "2"])
    assert result.exit_code == 0, result.exception
    said = " ".join(result.stdout.split())
    assert "stop_after 15 in place of 140,625, anneal_until 10 in place of 93,750" in said
    found = records.load(tmp_path)
    assert [record.status for record in found] == ["ok"] * 4
    for record in found:
        if record.setting.model == "sparse":
            left = sum(each.connections for each in record.connections)
            assert left == round((784 * 64 + 2 * 64 * 64) / 100)  # of all layers together
    name = "ultra-sparse-mnist-against-dense-mnist-subset-2-epochs"
    assert (tmp_path / "tables" / f"{name}.md").exists()
    assert (tmp_path / "plots" / "ultra-sparse-mnist-mnist-subset-2-epochs.png").exists()
    again = CliRunner().invoke(cli.app, [*arguments, "--seed", "1"])
    assert "2 of 2 runs have a record" in again.stdout

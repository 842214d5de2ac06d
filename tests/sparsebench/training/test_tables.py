from dataclasses import replace

import pytest

from sparsebench.training import experiment, groups, loop
from sparsebench.training.curves import CurvesRecord
from sparsebench.training.published import curve, published
from sparsebench.training.records import Epoch, Timing, TrainingRecord
from sparsebench.training.settings import CifarSetting, MLPSetting
from sparsebench.training.views import curves_plot, curves_table, plots, tables
from sparsebench.training.views.front import front
from sparsebench.views.tables import writers

ROWS = {row.row: row for row in experiment.shipped("mnist").rows}


def record(setting, accuracies, **others):
    epochs = [Epoch(loss=1.0, accuracy=each, perplexity=1 / each) for each in accuracies]
    return TrainingRecord(
        setting=setting, epochs=epochs, parameters=160_810, weights=158_800,
        machine={"id": "m"}, **others,
    )  # fmt: skip


SPARSE = replace(ROWS["sparse"], threads=2)
RISING = [0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.970, 0.972, 0.98]


def test_published_and_measured_stand_side_by_side_at_the_same_epochs():
    records = [
        record(SPARSE, RISING),
        record(replace(SPARSE, seed=1), [a + 0.002 for a in RISING]),
    ]
    (table,) = tables.of_training(records)
    theirs = (curve("mnist", "sparse")[7] + curve("mnist", "sparse")[8]) / 2
    (row,) = table.text.to_dict("records")
    assert row["published"] == f"{theirs:.2f}"
    assert row["measured"] == "97.20 ± 0.14"
    assert row["difference"] == f"{97.2 - theirs:+.2f}"
    assert row["epoch 10"] == "98.10 ± 0.14"
    assert row["parameters"] == "160,810"
    assert "s/epoch" not in row
    assert "times not measured" in table.caption
    assert "2 seeds" in table.caption
    assert table.numbers["measured [%]"].tolist() == pytest.approx([97.2])


@pytest.mark.parametrize(
    "change", [{"dataset": "mnist-subset"}, {"epochs": 9}, {"lr": 0.2}, {"held_out": 100}]
)
def test_what_is_not_comparable_never_stands_beside_published_figures(change):
    changed = replace(SPARSE, **change)
    (table,) = tables.of_training([record(changed, RISING[: changed.epochs])])
    assert "published" not in table.text.columns
    assert "NOT COMPARABLE with published figures" in table.caption
    assert ("SUBSET" in table.caption) == (changed.dataset == "mnist-subset")
    assert not list(plots.of_training([record(changed, RISING[: changed.epochs])]))


def test_times_measured_by_themselves_are_those_that_are_shown():
    slow = Timing(steps=937, samples=[100.0], steps_per_epoch=937, method="wall clock")
    timing = Timing(steps=10, samples=[0.1, 0.3, 0.2], steps_per_epoch=937, method="in turn")
    records = [
        record(SPARSE, RISING, timing=slow),
        TrainingRecord(
            setting=replace(SPARSE, seed=7), purpose="time", timing=timing, machine={"id": "m"}
        ),
    ]
    (table,) = tables.of_training(records)
    assert table.text["s/epoch"].tolist() == ["18.74"]
    assert "2 threads, in turn" in table.caption


def test_rows_of_several_machines_name_them():
    here = record(SPARSE, RISING)
    there = here.model_copy(update={"machine": {"id": "n", "cpu": {"model": "Other(R) CPU 9"}}})
    (table,) = tables.of_training([here, there])
    assert table.text["machine"].tolist() == ["this machine", "Other 9"]
    (alone,) = tables.of_training([here])
    assert "machine" not in alone.text


def test_nets_with_as_many_weights_share_a_column():
    kinds = {row.row: row for row in experiment.shipped("same-weights").rows}
    records = [
        record(kinds["dense 200 wide"], [0.97] * 10),
        record(kinds["RigL 90%"], [0.98] * 10),
        record(replace(kinds["RigL 90%"], seed=1), [0.981] * 10),
        record(kinds["RigL 99%"], [0.96] * 10),
        record(replace(kinds["random 99%"], epochs=2), [0.9] * 2),
    ]
    table = next(t for t in tables.of_training(records) if t.name == "weights")
    assert table.text.to_dict("records") == [
        {"net": "dense, narrow", "90%: 158,800": "97.00", "99%: 15,880": "not measured"},
        {"net": "RigL", "90%: 158,800": "98.05 ± 0.07", "99%: 15,880": "96.00"},
    ]


def test_nets_of_as_many_weights_are_drawn_by_their_errors_with_machines_pooled():
    kinds = {row.row: row for row in experiment.shipped("same-weights").rows}
    here = [record(kinds["dense 20 wide"], [0.96] * 10), record(kinds["GSE 99%"], [0.97] * 10)]
    there = record(replace(kinds["GSE 99%"], seed=1), [0.98] * 10)
    elsewhere = there.model_copy(update={"machine": {"id": "n"}})
    (axes,) = dict(plots.of_training([*here, elsewhere]))["same-weights"].axes
    assert axes.get_title() == "connections that move"
    points = [line.get_ydata().tolist() for line in axes.lines if len(line.get_ydata()) == 1]
    assert [4.0] in [[round(y, 6) for y in each] for each in points]
    assert [2.5] in [[round(y, 6) for y in each] for each in points]
    assert dict(plots.of_training(here[:1])).get("same-weights") is None


def test_trials_of_rates_and_decays_are_a_table_of_methods():
    def trial(method, lr, decay, accuracy, rewiring="none", **others):
        row = f"{method}, lr {lr}, decay {decay}, wide"
        rates = {"lr": lr, "weight_decay": decay}
        setting = replace(SPARSE, row=row, held_out=100, rewiring=rewiring, **rates)
        return record(setting, [*RISING[:-1], accuracy], **others)

    records = [
        trial("SET", 0.1, 0.0, 0.97, rewiring="set"),
        trial("static", 0.1, 0.0, 0.96),
        trial("static", 0.1, 5e-4, 0.98),
        trial("static", 0.02, 5e-4, 0.98),
        trial("static", 1.0, 0.0, 0.1, status="diverged"),
        record(replace(SPARSE, lr=0.02), RISING),  # no trial
    ]
    (table,) = (t for t in tables.of_training(records) if t.name.startswith("tuning"))
    assert table.name == "tuning-mnist-mnist-10-epochs-validation-100"
    rows = table.text.set_index("weight decay")
    assert rows["method"].tolist() == ["static, wide"] * 2
    assert rows.loc["0"].tolist()[1:] == ["", "96.00", "diverged"]
    assert rows.loc["0.0005"].tolist()[1:] == ["98.00", "98.00 (best)", ""]
    assert rows.columns.tolist()[1:] == ["rate 0.02", "rate 0.1", "rate 1"]
    assert table.numbers["best"].tolist() == [False, True, False, False]
    assert "on the last 100 training images of mnist" in table.caption


def test_failed_runs_have_a_row_and_a_reason():
    records = [
        record(SPARSE, RISING[:3], status="diverged", message="the loss is nan"),
        record(ROWS["dense"], RISING),
    ]
    rows, failures = tables.of_training(records)
    assert rows.text["measured"].tolist()[0] == "1 diverged"
    assert failures.text["why"].tolist() == ["the loss is nan"]


def test_every_row_of_the_table_has_its_published_curve():
    for name, setting in ROWS.items():
        assert len(curve("mnist", name)) >= setting.epochs
    assert published()["mnist"]["dense"]["parameters"] == 1_590_010
    assert len(published()["source"]["commit"]) == 40


@pytest.mark.parametrize("name", experiment.names())
def test_every_experiment_has_rows_of_its_own(name):
    settings = experiment.shipped(name).rows
    assert len({setting.key for setting in settings}) == len(settings)
    assert len({setting.row for setting in settings}) == len(settings)
    assert {setting.experiment for setting in settings} == {experiment.shipped(name).name}


@pytest.mark.parametrize("name", experiment.names())
def test_every_experiment_has_tables_and_plots_that_can_be_written(name, tmp_path):
    settings = experiment.shipped(name).rows
    timing = Timing(steps=10, samples=[0.1], steps_per_epoch=937, method="in turn")
    records = [
        record(replace(s, seed=seed), [0.9 + 0.001 * seed] * s.epochs, timing=timing)
        for s in settings
        for seed in (0, 1)
    ]
    made = tables.of_training(records)
    assert made
    for table in made:
        writers.write(table, tmp_path)
    drawn = dict(plots.of_training(records))
    expected = {
        "mnist": {"mnist", "pareto"},
        "recipe-search": set(),
        "ultra-sparse-search": set(),
        "same-time": {"mnist", "pareto", "same-time"},
        "real-size-vgg": {"real-size-vgg", "real-size-vgg-recovery"},
        "real-size-resnet": {"real-size-resnet", "real-size-resnet-recovery"},
        "structures-mnist": {"structures-mnist", "structures-mnist-race"},
        "structures-fashion": {"structures-fashion", "structures-fashion-race"},
    }
    assert set(drawn) == expected.get(name, {name})


def test_a_method_looks_the_same_at_every_sparsity():
    rows = experiment.shipped("ultra-sparse-tuned-mnist").rows
    settings = [row for row in rows if row.row in ("dense", "SET 99%", "RigL 99%", "RigL 90%")]
    made = dict(plots.of_training([record(s, [0.9] * s.epochs) for s in settings]))
    panels = made["ultra-sparse-tuned-mnist"].axes
    looks = [{line.get_label(): line.get_color() for line in axes.get_lines()} for axes in panels]
    assert len(panels) == 2
    assert looks[0]["RigL"] == looks[1]["RigL"] != looks[1]["SET"]


def test_curves_are_compared_step_by_step():
    losses = {"masked": [1.0, 0.5], "sparse": [1.0, 0.5 * (1 + 1e-9)]}
    conditions = {"dataset": "mnist", "steps": 2, "rewirings": 0, "width": 20, "sparsity": 0.9}
    made = CurvesRecord(
        experiment="same-training", case="RigL", conditions=conditions, losses=losses
    )
    (table,) = curves_table.of([made])
    assert table.text["largest relative difference"].tolist() == ["1.0e-09"]
    assert [name for name, _ in curves_plot.of([made])] == ["same-training"]


def test_the_connections_of_a_trained_network_are_recorded_and_shown(digits, silent):
    setting = MLPSetting(
        experiment="own", row="sparse", dataset="mnist-subset", width=40, hidden_layers=2,
        epochs=1, batch=32, sparsity=0.95, output="dense",
    )  # fmt: skip
    record = loop.train(setting, digits, silent)
    first, second = record.connections
    assert (first.layer, first.outputs, first.inputs) == ("hidden", 40, 784)
    assert (first.connections, second.connections) == (1568, 80)
    assert 0 < second.dead_outputs < 20
    assert 60 < second.effective <= 80
    assert second.effective_units <= 40 - second.dead_outputs
    assert TrainingRecord.model_validate_json(record.model_dump_json()) == record
    (table,) = [t for t in tables.of_training([record]) if t.name == "connections-own"]
    assert [type(cell) for cell in table.text.iloc[0]] == [str] * len(table.text.columns)
    row = table.numbers.iloc[0]
    assert row["connections"] == 1648
    assert row["outputs without any"] == (first.dead_outputs + second.dead_outputs) / 80
    assert row["active units"] == (first.effective_units + second.effective_units) / 80
    assert (first.new, second.new) == (0, 0)
    moved = replace(setting, row="SET", rewiring="set", update_every=4, stop_after=5, fraction=0.5)
    first, second = loop.train(moved, digits, silent).connections
    assert 0 < first.new <= 784 // 2  # one rewiring, which moves half with a cosine's share
    assert 0 < second.new <= 40
    dense = loop.train(replace(setting, model="dense", row="dense"), digits, silent)
    assert not dense.connections
    assert "connections-own" not in dict(plots.of_training([record, dense]))
    other = record.model_copy(update={"setting": replace(setting, row="other", sparsity=0.9)})
    figure = dict(plots.of_training([record, dense, other]))["connections-own"]
    panels = {axes.get_xlabel(): axes for axes in figure.axes}
    assert len(panels) == 5
    shown = [bar.get_width() for bar in panels["active units"].patches]
    assert shown == [row["active units"]] * 2
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["other (90%)", "sparse (95%)"]


def structured(structure, accuracy, *, seconds=1.0, sparsity=0.9, rewiring="none", seed=0):
    setting = MLPSetting(
        experiment="structures-mnist", row=f"{structure} {sparsity} {rewiring}", epochs=1,
        structure=structure, output="dense", sparsity=sparsity, rewiring=rewiring, seed=seed,
        model="dense" if structure == "dense" else "sparse",
    ) if structure != "dense" else MLPSetting(
        experiment="structures-mnist", row="dense", model="dense", sparsity=0.0, epochs=1
    )  # fmt: skip
    timing = Timing(steps=9, samples=[seconds], steps_per_epoch=9, method="wall clock")
    return record(setting, [accuracy], timing=timing, peak_memory=int(1e7 * seconds))


STRUCTURES = [
    structured("dense", 0.985, seconds=5.0),
    structured("unstructured", 0.98, seconds=2.0),
    structured("unstructured", 0.982, seconds=2.0, seed=1),
    structured("8x1", 0.979, seconds=1.0),
    structured("8x1", 0.983, seconds=1.2, rewiring="rigl"),
    structured("fan-in", 0.97, seconds=2.5),
]


def test_structures_stand_beside_unstructured_connections_of_the_same_kind():
    made = {table.name: table for table in tables.of_training(STRUCTURES)}
    table = made["structures-mnist-mnist-structures"]
    rows = {(r["structure"], r["method"]): r for r in table.text.to_dict("records")}
    assert rows["8x1", "static"]["against unstructured"] == "-0.20"
    assert rows["fan-in", "static"]["against unstructured"] == "-1.10"
    assert rows["unstructured", "static"]["accuracy"] == "98.10 ± 0.14"
    assert rows["unstructured", "static"]["against unstructured"] == "+0.00"
    assert rows["8x1", "RigL"]["against unstructured"] == ""  # nothing to compare with
    assert "dense" not in table.text["structure"].tolist()
    short = made["structures-mnist-mnist-structures-by-sparsity"]
    assert short.text.to_numpy().tolist() == [
        ["8x1", "RigL", "98.30"],
        ["unstructured", "static", "98.10 ± 0.14"],
        ["8x1", "static", "97.90"],
        ["fan-in", "static", "97.00"],
    ]
    assert list(short.text) == ["structure", "method", "90%"]
    assert short.numbers["90%"].tolist() == pytest.approx([98.3, 98.1, 97.9, 97.0])
    assert "the mean over 1 to 2 seeds" in short.caption
    assert table.numbers["seconds per epoch"].tolist() == [1.2, 2.0, 1.0, 2.5]


def test_what_structures_learn_on_several_machines_counts_together():
    """But no times: those are of the machine that has most of them."""
    there = {"machine": {"id": "n", "cpu": {"model": "Other(R) CPU 9"}}}
    untimed = structured("8x1", 0.981, seed=2).model_copy(update=there | {"timing": None})
    slower = structured("8x1", 0.983, rewiring="rigl", seconds=9.0, seed=1).model_copy(update=there)
    made = {t.name: t for t in tables.of_training([*STRUCTURES, untimed, slower])}
    numbers = made["structures-mnist-mnist-structures"].numbers.set_index(["structure", "method"])
    assert numbers["runs"]["8x1", "static"] == numbers["runs"]["8x1", "RigL"] == 2
    assert numbers["accuracy [%]"]["8x1", "static"] == pytest.approx(98.0)
    assert numbers["seconds per epoch"]["8x1", "static"] == 1.0
    assert numbers["seconds per epoch"]["8x1", "RigL"] == 1.2
    assert "machine" not in made["structures-mnist-mnist-1-epochs"].text


def pruned(structure, accuracy, *, rewiring="none", images=4000, **changes):
    dense = {"model": "dense", "pruning": "none", "sparsity": 0.0, "row": "dense"}
    columns = {"row": f"{structure} {rewiring}", "structure": structure, "pruning": "once"}
    setting = CifarSetting(
        experiment="structures-vgg", network="vgg11_bn", images=images, epochs=2,
        rewiring=rewiring, **changes, **(dense if structure == "dense" else columns),
    )  # fmt: skip
    return record(setting, [0.1, accuracy])


def test_structures_of_pruned_networks_stand_beside_each_other_too():
    whole = {"dataset": "cifar10-first20k"}  # of which the same images were taken
    records = [
        pruned("dense", 0.64),
        pruned("unstructured", 0.60, **whole),
        pruned("8x1", 0.61, rewiring="rigl", **whole),
        pruned("8x1", 0.57, **whole),
        pruned("8x1", 0.50, images=50, **whole),
    ]
    made = {table.name: table for table in tables.of_training(records)}
    table = made["structures-vgg-cifar10-first4000-structures"]
    rows = {(r["structure"], r["method"]): r for r in table.text.to_dict("records")}
    assert rows["8x1", "static"]["against unstructured"] == "-3.00"
    assert rows["8x1", "RigL"]["accuracy"] == "61.00"
    assert len(rows) == 3
    assert "cifar10 by VGG11 with batch normalisation, trained dense on its first 4,000 images" in (
        table.caption
    )
    assert len(made["structures-vgg-cifar10-first50-structures"].text) == 1


def test_the_front_of_structures_is_drawn_against_seconds_and_memory():
    drawn = dict(plots.of_training(STRUCTURES))
    figure = drawn["structures-mnist"]
    seconds, memory = figure.axes
    assert "seconds" in seconds.get_xlabel()
    assert "memory" in memory.get_xlabel()
    (line,) = [line for line in seconds.lines if line.get_linestyle() == ":"]
    assert line.get_xdata().tolist() == [1.0, 1.2, 5.0]  # 8x1, 8x1 with RigL, dense
    assert line.get_ydata().tolist() == pytest.approx([97.9, 98.3, 98.5])
    assert front([(2.0, 1.0), (1.0, 1.0), (3.0, 0.5), (4.0, 2.0)]) == [(1.0, 1.0), (4.0, 2.0)]


def test_structures_race_to_what_dense_ends_with():
    """Seconds of a row are those of its epochs, and a dot is where it is there."""
    dense, *others = STRUCTURES[0], structured("8x1", 0.99, seconds=1.5), STRUCTURES[1]
    drawn = dict(plots.of_training([dense, *others]))
    (axes,) = drawn["structures-mnist-race"].axes
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert lines["8x1, static"].get_xdata().tolist() == [1.5]
    assert lines["unstructured, static"].get_xdata().tolist() == [2.0]
    assert lines["dense, ends with 98.50"].get_xdata().tolist() == [5.0]
    dots = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert dots == [[[1.5, pytest.approx(99.0)]]]  # unstructured ones are never as accurate
    untimed = [run.model_copy(update={"timing": None}) for run in [dense, *others]]
    assert "structures-mnist-race" not in dict(plots.of_training(untimed))


ULTRA = {row.row: row for row in experiment.shipped("ultra-sparse-mnist").rows}


def raced(row, curves, *, seconds=None, memory=None, **changes):
    """Runs of a row, a seed each, with these accuracies after each epoch."""
    setting = replace(ULTRA[row], epochs=len(curves[0]), threads=2, **changes)
    timing = seconds and Timing(steps=9, samples=[seconds], steps_per_epoch=9, method="wall clock")
    return [
        record(replace(setting, seed=seed), curve, timing=timing, peak_memory=memory)
        for seed, curve in enumerate(curves)
    ]


RACE = [
    *raced("dense", [[0.90, 0.97, 0.98], [0.91, 0.98, 0.982]], seconds=8.0, memory=40_000_000),
    *raced("SET 99%", [[0.80, 0.979, 0.979], [0.81, 0.984, 0.979]], seconds=2.0, memory=10_000_000),
    *raced("CHTs 99%", [[0.80, 0.9, 0.985], [0.81, 0.9, 0.984]], seconds=4.0),
    *raced("static 99%", [[0.5, 0.6, 0.7]], seconds=2.0),  # one seed alone cannot be compared
]


def test_methods_stand_beside_dense_seed_by_seed_with_seconds_and_memory():
    made = {table.name: table for table in tables.of_training(RACE)}
    table = made["ultra-sparse-mnist-against-dense-mnist-3-epochs"]
    assert "against 'dense', 98.10%" in table.caption
    chts, set_ = table.text.to_dict("records")
    assert (chts["row"], set_["row"]) == ("CHTs 99%", "SET 99%")
    assert chts["against dense"] == "+0.35 ± 0.21"
    assert set_["against dense"] == "-0.20 ± 0.14"
    # Of one degree of freedom: 1 − 2/π · atan(t), t = 0.2 / (0.1414 / √2) = 2.
    assert set_["p"] == f"{1 - 2 / 3.141592653589793 * 1.1071487177940904:.3f}"
    assert set_["seconds"] == "6.00 s (0.25×)"
    # After two epochs of two seconds, where dense takes three of eight.
    assert set_["to dense's accuracy"] == "4.00 s (0.17×)"
    assert chts["to dense's accuracy"] == "12.0 s (0.50×)"
    assert set_["peak memory"] == "10.0 MB (0.25×)"
    assert table.numbers["seeds"].tolist() == [2, 2]


def test_what_was_trained_otherwise_is_not_compared():
    sparse = raced("SET 99%", [[0.8, 0.9], [0.8, 0.9]])
    made = [*RACE[:2], *sparse, *raced("SET 99%", [[0.8, 0.9, 0.9]] * 2, dataset="mnist-subset")]
    assert not [t for t in tables.of_training(made) if "against" in t.name]
    untimed = [*raced("dense", [[0.9], [0.91]]), *raced("SET 99%", [[0.9], [0.90]])]
    (table,) = [t for t in tables.of_training(untimed) if "against" in t.name]
    assert list(table.text) == ["row", "sparsity", "accuracy", "against dense", "seeds", "p"]


def test_the_race_is_drawn_against_seconds_with_what_dense_ends_with():
    more = [
        *raced("RigL 99%", [[0.8, 0.9, 0.97]]),
        *raced("SET 95%", [[0.8, 0.9, 0.95]], seconds=1),
    ]
    other = [run.model_copy(update={"setting": replace(run.setting, dataset="mnist-subset")})
             for run in RACE]  # fmt: skip
    drawn = dict(plots.of_training([*RACE, *more, *other]))
    assert set(drawn) == {f"ultra-sparse-mnist{end}-3-epochs" for end in ("", "-mnist-subset")}
    first, second = drawn["ultra-sparse-mnist-3-epochs"].axes
    assert first.get_title() == "95% sparse"
    lines = {line.get_label(): line for line in second.lines}
    assert lines["dense, ends with 98.10"].get_xdata().tolist() == [8, 16, 24]
    assert lines["SET"].get_xdata().tolist() == [2, 4, 6]
    assert "RigL" not in lines  # it was not timed
    points = [line for line in second.lines if line.get_marker() == "o"]
    assert sorted(float(line.get_xdata()[0]) for line in points) == [4.0, 12.0]
    assert all(float(line.get_ydata()[0]) >= 98.1 for line in points)
    by_epoch = dict(plots.of_training([*raced("dense", [[0.9]]), *raced("SET 99%", [[0.8]])]))
    (axes,) = by_epoch["ultra-sparse-mnist-1-epochs"].axes
    assert axes.get_xlabel() == "epochs"


def test_experiments_of_ones_own_have_a_race_too():
    own = [
        run.model_copy(update={"setting": replace(run.setting, experiment="my")}) for run in RACE
    ]
    assert set(dict(plots.of_training(own))) == {"my"}
    assert not dict(plots.of_training(own[:2]))  # nothing beside dense
    assert "my-against-dense-mnist-3-epochs" in {table.name for table in tables.of_training(own)}


def test_epochs_of_a_net_that_gets_sparser_take_each_their_own_time():
    dense, granet = raced("dense", [[0.9, 0.9]] * 2), raced("GraNet 99%", [[0.8, 0.95]] * 2)
    runs = []
    for run, seconds in zip((*dense, *granet), ([4, 4], [4, 4], [7, 1], [5, 1]), strict=True):
        epochs = [
            epoch.model_copy(update={"seconds": float(each)})
            for epoch, each in zip(run.epochs, seconds, strict=True)
        ]
        samples = [float(each) for each in seconds]
        timing = Timing(steps=9, samples=samples, steps_per_epoch=9, method="wall clock")
        runs.append(run.model_copy(update={"epochs": epochs, "timing": timing}))
    (table,) = [t for t in tables.of_training(runs) if "against" in t.name]
    (row,) = table.numbers.to_dict("records")
    assert (row["seconds"], row["seconds / dense"]) == (7.0, 7 / 8)
    assert row["seconds to dense"] == 7.0
    (axes,) = dict(plots.of_training(runs))["ultra-sparse-mnist-2-epochs"].axes
    line = next(line for line in axes.lines if line.get_label() == "GraNet")
    assert line.get_xdata().tolist() == [6.0, 7.0]


def test_a_large_net_that_is_pruned_gradually_takes_its_own_time_for_each_epoch():
    (run,) = raced("RigL 99%", [[0.3, 0.4, 0.5]])
    gradual = CifarSetting(
        experiment="my", row="sparse storage", network="vgg11_bn", pruning="gradual", epochs=3
    )
    epochs = [
        epoch.model_copy(update={"seconds": seconds})
        for epoch, seconds in zip(run.epochs, (9.0, 2.0, 1.0), strict=True)
    ]
    timing = Timing(steps=9, samples=[9.0, 2.0, 1.0], steps_per_epoch=9, method="wall clock")
    made = {"setting": gradual, "epochs": epochs, "timing": timing}
    (group,) = groups.groups([run.model_copy(update=made)])
    assert group.clock == [9.0, 11.0, 12.0]
    (group,) = groups.groups([run.model_copy(update=made | {"epochs": run.epochs})])
    assert group.clock is None  # one of its epochs says nothing about the others


def test_rewirings_that_no_turn_held_come_on_top_when_they_are_due():
    timing = Timing(
        steps=9, samples=[9.0, 8.0, 10.0], steps_per_epoch=9, method="", rewirings=[2.0, 1.0, 4.0]
    )
    (run,) = raced("RigL 99%", [[0.8, 0.9, 0.95]], update_every=6, stop_after=13)
    (group,) = groups.groups([run.model_copy(update={"timing": timing})])
    assert group.clock == [9 + 2, 18 + 4, 27 + 4]  # after steps 6 and 12, and never again
    assert group.seconds_per_epoch == 31 / 3


def test_parts_of_a_training_that_were_timed_make_up_its_epochs():
    granet = raced("GraNet 99%", [[0.8, 0.95]])
    (group,) = groups.groups(granet)
    assert group.clock is None
    parts = Timing(
        steps=9, samples=[4.0, 3.0, 2.0, 1.0], steps_per_epoch=9, method="", by_part=True
    )
    (run,) = granet
    timed = run.model_copy(update={"purpose": "time", "epochs": [], "timing": parts})
    (group,) = groups.groups([*granet, timed])
    assert group.clock == [3.5, 5.0]  # every part half an epoch, and half as many steps as timed
    assert group.seconds_per_epoch == 2.5
    at_first = parts.model_copy(update={"by_part": False})
    (group,) = groups.groups([*granet, timed.model_copy(update={"timing": at_first})])
    assert group.clock is None
    assert group.seconds_per_epoch is None

"""Over which dense layer a speed-up is, and whether to prune or to quantise."""

import itertools

from sparsebench.analysis.points import points
from sparsebench.views import plots, tables
from tests.sparsebench.factory import record

TIMES = {"dense": 4e-3, "dense_onednn": 2e-3, "dense_int8": 8e-4}


def made(**changes):
    records = [
        record(
            TIMES.get(name, 1e-2 * (1 - sparsity)),
            implementation=name,
            sparsity=sparsity,
            errors={"output": 1e-2 if name == "dense_int8" else 1e-7},
            **{"phase": "inference"} | changes,
        )
        for name, sparsity in itertools.product((*TIMES, "ours"), (0.5, 0.9))
    ]
    return points(records)


def table(name, found):
    return next((t for t in tables.tables(found) if t.name == name), None)


def test_a_speedup_is_told_over_each_dense_layer():
    text = table("baselines", made()).text.set_index("over")
    assert list(text.loc["nn.Linear", ["50%", "90%"]]) == ["0.80×", "4.0×"]
    assert text.loc["fastest dense", "90%"] == "2.0× dense_onednn"
    assert text.loc["dense in a shorter type", "90%"] == "0.80× dense_int8"


def test_nothing_is_told_twice_where_nn_linear_is_alone():
    records = [record(1.0, implementation=name) for name in ("dense", "masked", "ours")]
    assert table("baselines", points(records)) is None


def test_dense_layers_are_told_over_nn_linear():
    row = table("dense", made()).text.iloc[0]
    assert (row["nn.Linear"], row["dense_onednn"], row["dense_int8"]) == (
        "4.00 ms",
        "0.50×",
        "0.20×",
    )


def test_kept_gradients_and_cold_caches_are_rows_of_their_own():
    kept = {"phase": "train_step", "gradients": "kept"}
    found = [p.record for p in (*made(phase="train_step"), *made(**kept), *made(cache="cold"))]
    text = table("baselines", points(found)).text
    assert set(zip(text.phase, text.gradients, text.cache, strict=True)) == {
        ("train_step", "fresh", "warm"),
        ("train_step", "kept", "warm"),
        ("inference", "fresh", "cold"),
    }
    assert any("gradients_kept" in name for name, _ in plots.figures(points(found)))


def test_sparse_stands_beside_quantised():
    text = table("deploy", made()).text.query("sparsity == '90%'")
    assert list(text.implementation) == ["dense_int8", "ours", "dense_onednn", "dense"]
    assert list(text.error) == ["1.0e-02", "1.0e-07", "1.0e-07", "1.0e-07"]
    assert list(text["over the fastest dense"])[1] == "2.0×"
    figure = dict(plots.figures(made()))["deploy-128"]
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "time", "peak memory", "error of the output",
    ]  # fmt: skip
    assert table("deploy", made(phase="train_step")) is None

"""`compare-linear` and `compare-conv2d`: one layer, time against sparsity."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from sparsebench import cli, interruption, records
from sparsebench.analysis.points import points
from sparsebench.measuring import isolation, machine, runner
from sparsebench.measuring.timing import Times
from sparsebench.measuring.worker import Outcome
from sparsebench.views import folder as written
from sparsebench.views import tables
from sparsebench.views.tables.writers import latex
from tests.sparsebench.factory import sweep

LINEAR = ("compare-linear", "--in", "16", "--out", "24", "--batch", "8")
CONV = ("compare-conv2d", "--channels", "4,6", "--image", "5", "--batch", "8")
SHORT = ("--sparsity", "0.5,0.9", "--phase", "inference", "--threads", "1", "--seconds", "0.001")


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run the command in an empty folder; return exit code, output and errors.

    Nothing is timed, and no plot drawn: calls take 2 ms, those of ours a fourth.
    """

    def answer(function, *args, **options):
        if function is not runner.worker.measure:
            return Outcome("ok")
        seconds = 5e-4 if args[0].implementation == "ours" else 2e-3
        return Outcome("ok", times=Times([seconds], 1))

    monkeypatch.setattr(isolation, "call", answer)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(interruption, "raise_on_signals", lambda: None)
    monkeypatch.setattr(machine, "busy", lambda: 0.0)
    monkeypatch.setattr(written, "write", _only_a_name)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["sparsebench", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        return ended.value.code or 0, output.out, output.err

    return call


def _only_a_name(found, folder):
    (folder / "tables").mkdir(exist_ok=True)
    return [folder / "plots" / "time-inference.png"]


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [(LINEAR, "compare-linear/16-24-batch8"), (CONV, "compare-conv2d/4-6-kernel3-image5-batch8")],
)
def test_every_sparsity_is_timed_dense_and_ours(arguments, folder, call):
    code, out, _ = call(*arguments, *SHORT, "--implementation", "ours")
    assert code == 0
    where = Path("results") / folder
    assert str(where / "plots" / "time-inference.png") in out
    found = records.load(where)
    assert {(r.case.implementation, r.case.sparsity) for r in found} == {
        (name, sparsity) for name in ("dense", "ours") for sparsity in (0.5, 0.9)
    }
    assert {r.status for r in found} == {"ok"}
    table = pd.read_csv(where / "tables" / "time.csv")
    rows = zip(table["implementation"], table["sparsity"], table["time [s]"].round(9), strict=True)
    assert set(rows) == {
        (name, s, t) for name, t in (("dense", 2e-3), ("ours", 5e-4)) for s in (0.5, 0.9)
    }
    lines = [line.split() for line in out.splitlines()]
    assert any("ours" in line and line[-4:] == ["500", "µs", "500", "µs"] for line in lines)
    assert "4 of 4 cases have a record" in call(*arguments, *SHORT, "--implementation", "ours")[1]


def test_json_has_the_output_to_itself(call):
    code, out, _ = call(*LINEAR, *SHORT, "--implementation", "ours", "--json")
    assert code == 0
    found = {(r["implementation"], r["sparsity"]): r["time [s]"] for r in json.loads(out)}
    assert found == {(n, s): t for n, t in (("dense", 2e-3), ("ours", 5e-4)) for s in (0.5, 0.9)}


def test_a_window_is_what_the_options_say(call):
    window = ("--kernel", "2", "--stride", "2", "--padding", "1", "--groups", "2")
    code, _, _ = call(*CONV, *SHORT, *window, "--implementation", "ours")
    assert code == 0
    (of,) = {
        r.case
        for r in records.load(Path("results"))
        if r.case.key.startswith("implementation=ours") and r.case.sparsity == 0.5
    }
    assert (of.in_features, of.out_features, of.kernel, of.stride, of.padding, of.groups) == (
        4, 6, 2, 2, 1, 2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((*LINEAR, "--sparsity", "0.5,1"), ("--sparsity", "less than 1", "1.0")),
        ((*LINEAR, "--sparsity", "95"), ("--sparsity", "(a fraction: 0.95 for 95%)")),
        ((*LINEAR, "--sparsity", "half"), ("--sparsity", "numbers in [0, 1)", "'half'")),
        ((*LINEAR, "--sparsity", "0.99999"), ("--sparsity: ", "leaves no connection", "below 0.")),
        ((*LINEAR, "--phase", "guess"), ("--phase", "'guess'", "train_step")),
        ((*LINEAR, "--implementation", "mine"), ("--implementation", "'mine'", "dense, ")),
        ((*LINEAR, "--dtype", "int8"), ("--dtype", "'int8'", "float32")),
        ((*LINEAR, "--device", "tpu"), ("--device tpu", "choose cpu, cuda, or")),
        ((*CONV, "--channels", "4,x"), ("--channels", "'4,x'", "64,128")),
        ((*CONV, "--channels", "1,2,3"), ("--channels", "1 or 2", "'1,2,3'")),
        ((*CONV, "--groups", "3"), ("in_features = 4", "groups = 3")),
        ((*CONV, "--kernel", "9", "--padding", "0"), ("kernel = 9", "image = 5")),
    ],
)
def test_wrong_input_is_one_message_and_nothing_is_measured(arguments, parts, call):
    code, _, err = call(*arguments)
    assert code == 2
    assert err.startswith("error:")
    for part in parts:
        assert part in err
    assert not Path("results").exists()


def test_the_table_of_times_says_what_failed_and_sets_in_latex():
    found = points(
        sweep(
            widths=(64,),
            batches=(16,),
            phases=("inference",),
            operation="conv2d",
            kernel=3,
            padding=1,
            image=8,
        )
    )
    table = tables.times(found)
    dense = table.text[table.text["implementation"] == "dense"].iloc[0]
    assert [dense[s].split(" (")[0] for s in ("90%", "99%")] == ["655 ns"] * 2
    assert "8$^2$" in latex(table)

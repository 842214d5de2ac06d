"""Records in other tools' hands: pandas, Parquet, pytest-benchmark, asv; and plain output."""

import json
import statistics
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import sparsebench
from sparsebench import cli
from sparsebench.errors import InputError
from sparsebench.records import Store, load
from sparsebench.views.exports import FORMATS
from tests import fresh
from tests.sparsebench.factory import MACHINE, record, sweep

COMMIT = MACHINE | {"sparsebench": {"version": "1", "commit": "c0ffee"}, "python": "3.12.1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with records, which is only read."""
    folder = tmp_path_factory.mktemp("exports") / "mine"
    with Store(folder) as store:
        started = "2026-01-02T03:04:05+00:00"
        options = {"widths": (512,), "phases": ("inference",), "machine": COMMIT}
        for each in sweep(**options, started=started):
            store.append(each)
        store.append(record(None, width=64, status="oom", message="no memory", machine=COMMIT))
    return folder


def test_pandas_reads_the_file_as_it_is(folder):
    frame = pd.read_json(folder / "records.jsonl", lines=True)
    assert len(frame) == len(load(folder))
    first = frame.iloc[0]
    assert first.case["in_features"] == 512
    assert first.samples == pytest.approx(load(folder)[0].samples)


def test_the_frame_is_tidy_and_holds_what_was_measured(folder):
    frame = sparsebench.load_frame(folder)
    assert len(frame) == len(load(folder))
    ours = frame[(frame.implementation == "ours") & (frame.sparsity == 0.9) & (frame.batch == 128)]
    (row,) = ours[ours.status == "ok"].to_dict("records")
    assert row["speedup [×]"] == pytest.approx(5.0)
    assert row["speedup [×] low"] < 5.0 < row["speedup [×] high"]
    assert row["in_features"] == 512
    failed = frame[frame.status == "oom"]
    assert failed.message.tolist() == ["no memory"]
    assert failed["time [s]"].isna().all()
    with pytest.raises(InputError, match="nowhere: no such"):
        sparsebench.load_frame("nowhere")
    with pytest.raises(AttributeError, match="no attribute 'frame'"):
        _ = sparsebench.frame


def test_parquet_holds_the_same_frame(folder, tmp_path):
    pytest.importorskip("pyarrow", reason="pip install pyarrow")
    FORMATS["parquet"](load(folder), tmp_path / "f.parquet")
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "f.parquet"), sparsebench.load_frame(folder), check_dtype=False
    )


def test_parquet_without_its_library_is_one_message(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("sparsebench.views.exports.parquet.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs pyarrow; install with: pip install pyarrow$"):
        FORMATS["parquet"](load(folder), tmp_path / "f.parquet")


def test_pytest_benchmark_compares_its_file(folder, tmp_path):
    """Its own command reads the file and shows the medians."""
    path = tmp_path / "0001_mine.json"
    FORMATS["pytest-benchmark"](load(folder), path)
    document = json.loads(path.read_text())
    timed = {r.case.key: r for r in load(folder) if r.status == "ok"}
    assert len(document["benchmarks"]) == len(timed)
    for benchmark in document["benchmarks"]:
        samples = timed[benchmark["fullname"].removeprefix("sparsebench::")].samples
        assert benchmark["stats"]["median"] == pytest.approx(statistics.median(samples))
        assert benchmark["stats"]["mean"] == pytest.approx(statistics.fmean(samples))
        assert benchmark["stats"]["data"] == samples
    done = subprocess.run(
        [sys.executable, "-c", "from pytest_benchmark.cli import main; main()",
         "compare", str(path), "--columns=median"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "dense[operation=linear" in done.stdout


def test_asv_has_a_result_for_every_parameter(folder, tmp_path):
    path = tmp_path / "asv.json"
    FORMATS["asv"](load(folder), path)
    document = json.loads(path.read_text())
    assert (document["version"], document["commit_hash"]) == (2, "c0ffee")
    assert document["date"] == 1767323045000
    results = dict(
        zip(
            document["result_columns"],
            document["results"]["sparsebench.ours.time_inference"],
            strict=False,
        )
    )
    assert len(results["result"]) == len(results["params"][0]) == 12
    samples = results["samples"]
    for column, share in (("stats_q_25", 25), ("stats_q_75", 75)):
        assert results[column] == pytest.approx([np.percentile(own, share) for own in samples])
    assert results["stats_repeat"] == [len(own) for own in samples]
    timed = [r for r in load(folder) if r.case.implementation == "ours" and r.status == "ok"]
    assert sorted(samples) == sorted(r.samples for r in timed)
    assert all(
        low < value < high
        for low, value, high in zip(
            results["stats_ci_99_a"], results["result"], results["stats_ci_99_b"], strict=True
        )
    )


def test_asv_tells_seeds_apart_and_has_null_for_no_interval(tmp_path):
    path = tmp_path / "asv.json"
    found = [record(1.0, seed=seed, count=2, machine=COMMIT) for seed in (0, 1)]
    FORMATS["asv"](found, path)
    (row,) = json.loads(path.read_text())["results"].values()
    assert len(set(row[1][0])) == 2
    assert row[5] == row[6] == [None, None]


def test_formats_for_one_machine_refuse_two(folder, tmp_path):
    both = [*load(folder), *sweep(widths=(512,), machine={"id": "beef"})]
    for name in ("pytest-benchmark", "asv"):
        with pytest.raises(InputError, match="these records"):
            FORMATS[name](both, tmp_path / "x")
    with pytest.raises(InputError, match="have none"):
        FORMATS["asv"](sweep(widths=(512,)), tmp_path / "x")


def call(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_the_command_writes_and_overwrites_only_when_told(folder, tmp_path):
    out = tmp_path / "out.json"
    done = call("export", folder, out, "--format", "pytest-benchmark")
    assert done.exit_code == 0, done.output
    assert "61 records" in done.output
    before = out.read_text()
    again = call("export", folder, out, "--format", "asv")
    assert "is there already" in str(again.exception)
    assert out.read_text() == before
    assert call("export", folder, out, "--format", "asv", "--overwrite").exit_code == 0
    assert out.read_text() != before
    unknown = call("export", folder, out, "--format", "xml")
    assert "choose from parquet, pytest-benchmark, asv" in str(unknown.exception)


def test_json_on_commands_that_print_tables(folder):
    listed = json.loads(call("list", "--json").stdout)
    assert {"ours", "dense"} <= {each["name"] for each in listed["implementations"]}
    assert all(each["unit"] for each in listed["metrics"])
    assert json.loads(call("env", "--json").stdout)["id"]
    rows = json.loads(call("report", folder, "--json").stdout)
    assert len(rows) == 61
    assert not (folder / "tables").exists()


COMMANDS = """
import sys
from sparsebench import cli
from sparsebench.views import plots
plots.save = lambda figure, path: []  # pictures are written for seconds, and say nothing
for arguments in (["list"], ["env"], ["--help"], ["report", "mine"]):
    print("asked for", arguments)
    sys.argv = ["sparsebench", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        assert not end.code, (arguments, end.code)
"""


def test_what_is_no_terminal_gets_no_control_characters(tmp_path, monkeypatch):
    few = {"widths": (512,), "batches": (1,), "sparsities": (0.9,), "phases": ("inference",)}
    with Store(tmp_path / "mine") as store:
        for each in sweep(**few, implementations=("dense", "ours")):
            store.append(each)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.chdir(tmp_path)
    (done,) = fresh.each("", [COMMANDS + fresh.OVER], TERM="xterm-256color")
    assert done.status == 0, done.err
    _, *answers = done.out.split("asked for")
    assert len(answers) == 4
    assert all(len(answer.splitlines()) > 1 for answer in answers)
    assert "\x1b" not in done.out + done.err
    assert (tmp_path / "mine" / "plots").is_dir()

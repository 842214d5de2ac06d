"""A history of checks whose ratios are known."""

import json
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sparsebench import cli
from sparsebench.analysis.estimates import Estimate
from sparsebench.errors import InputError
from sparsebench.regression import history, results
from sparsebench.regression import plot as histories
from sparsebench.regression.results import Check, Commit, Finding, WireCheck, WireFinding

MACHINE = {"id": "0a1b", "cpu": {"model": "Anvil 9000"}}
NAME = "training-1024-90%-b128"


def check(day, ratio):
    finding = Finding(
        workload=NAME, measure="time", base=[1.0] * 5, head=[ratio] * 5,
        ratio=Estimate(ratio, ratio / 1.02, ratio * 1.02),
        verdict="slower" if ratio > 1.1 else "same",
    )  # fmt: skip
    lost = Finding(workload="gone", measure="time", verdict="broken", message="why")
    return Check(
        started=f"2026-01-0{day}", wall_s=1, base=Commit(commit=f"c{day - 1}", date=""),
        head=Commit(commit=f"c{day}", date="", modified=day == 3), tolerance=0.1,
        settings={"processes": 5}, findings=[finding, lost], machine=MACHINE,
    )  # fmt: skip


def wire(day, ratio):
    finding = WireFinding(
        workload=NAME, measure="time", against="dense", ratio=ratio, limit=0.6, held=ratio <= 0.6
    )
    return WireCheck(
        started=f"2026-01-0{day}", wall_s=1, head=Commit(commit=f"c{day}", date=""),
        findings=[finding], machine=MACHINE,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    with results.Checks(tmp_path) as store:
        for day, ratio in ((2, 1.3), (1, 1.0), (3, 0.8)):
            store.append(check(day, ratio))
    with results.WireChecks(tmp_path) as store:
        for day, ratio in ((1, 0.3), (2, 0.7)):
            store.append(wire(day, ratio))
    return tmp_path


def test_ratios_come_in_the_order_of_time(folder):
    found = history.load(folder)
    assert [(e.commit, e.against, e.ratio) for e in found if e.against == "base"] == [
        ("c1", "base", 1.0), ("c2", "base", 1.3), ("c3 with changes", "base", 0.8)
    ]  # fmt: skip
    assert [e.verdict for e in found if e.against == "dense"] == ["holds", "tripped"]
    assert history.commits(found) == ["c1", "c2", "c3 with changes"]


def test_the_plot_shows_every_ratio(folder):
    found = history.load(folder)
    (axes,) = [a for a in histories.history(found).axes if a.get_visible()]
    assert axes.get_title(loc="left") == f"{NAME}, time"
    lines = [list(line.get_ydata()) for line in axes.lines]
    assert [1.0, 1.3, 0.8] in lines
    assert [0.3, 0.7] in lines
    assert [t.get_text() for t in axes.get_xticklabels()] == ["c1", "c2", "c3+"]


def test_the_command_writes_and_prints(folder):
    done = CliRunner().invoke(cli.app, ["history", str(folder), "--out", str(folder / "out")])
    assert done.exit_code == 0, done.output
    assert "5 ratios of 3 commits" in done.stdout
    assert {p.name for p in (folder / "out").iterdir()} == {
        f"history.{e}" for e in ("md", "csv", "tex", "png", "svg")
    }
    answer = json.loads(CliRunner().invoke(cli.app, ["history", str(folder), "--json"]).stdout)
    assert len(answer) == 5
    assert answer[0]["machine"] == "Anvil 9000"


def test_nothing_there_is_one_message(tmp_path):
    for source, message in ((tmp_path, "holds no checks.jsonl"), (Path("none"), "no such folder")):
        done = CliRunner().invoke(cli.app, ["history", str(source)])
        assert isinstance(done.exception, InputError)
        assert message in str(done.exception)


def test_a_torn_line_and_another_schema_are_left_out_with_a_warning(folder):
    path = folder / "checks.jsonl"
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace('"schema_version":1', '"schema_version":7')
    path.write_text("\n".join([*lines, lines[0][:100]]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [c.head.commit for c in results.load_checks(folder)] == ["c2", "c3"]
    said = " ".join(str(w.message) for w in caught)
    assert "1 records of schema 7 are left out, the first in line 2" in said
    assert "line 4 is no record" in said

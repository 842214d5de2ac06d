"""`sparsebench run --weights`: from files to records, and what is refused before anything runs."""

import json
from pathlib import Path

import pytest
import torch

from sparsebench import records
from sparsebench.campaign.here import Here
from sparsebench.measuring import machine
from tests.sparsebench.commands.test_cli import call, measured  # noqa: F401


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "busy", lambda: 0.0)
    torch.manual_seed(0)
    weight = torch.randn(16, 24) * (torch.rand(16, 24) < 0.2)
    torch.save({"a.weight": weight, "b.weight": torch.ones(4, 4)}, tmp_path / "net.pt")
    return weight


def test_a_checkpoint_is_measured(call, checkpoint):  # noqa: F811
    code, _, err = call(
        "run", "mine.toml", "--weights", "net.pt", "--filter", "implementation=dense,ours"
    )
    assert code == 0, err
    found = records.load(Path("results/mine"))
    assert {r.case.implementation for r in found} == {"dense", "ours"}
    for record in found:
        assert record.status == "ok", record.message
        assert record.case.topology.startswith("file:net.pt:a.weight@")
        assert (record.case.out_features, record.case.in_features) == (16, 24)
        assert record.case.nnz == int((checkpoint != 0).sum())
    lines = Path("results/mine/records.jsonl").read_text()
    assert str(Path.cwd()) not in lines
    code, out, _ = call("run", "mine.toml", "--weights", "net.pt")
    assert "2 of 2 cases have a record" in out


def test_without_a_sweep_the_collections_questions_are_asked(call, checkpoint, measured):  # noqa: F811
    code, _, err = call("run", "--weights", "net.pt")
    assert code == 0, err
    found = records.load(Path("results/weights"))
    assert {r.case.batch for r in found} == {1, 32, 128, 512}
    assert {r.case.operation for r in found} == {"linear", "product"}


def test_a_dry_run_lists_the_cases(call, checkpoint):  # noqa: F811
    code, out, err = call("run", "mine.toml", "--weights", "net.pt", "--dry-run", "--json")
    assert code == 0, err
    assert {line["case"]["topology"].partition("@")[0] for line in json.loads(out)} == {
        "file:net.pt:a.weight"
    }


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["net.pt", "--min-sparsity", "0.95"], ["net.pt", "95% zeros or more", "a.weight"]),
        (["other.pt"], ["'other.pt'", "no such file"]),
        (["bad.smtx"], ["bad.smtx, line 3", "col[2] = 9 is outside [0, 3)"]),
        (["net.pt", "--weights", "bad.smtx"], ["bad.smtx, line 3"]),
    ],
)
def test_bad_files_leave_nothing_behind(call, checkpoint, measured, arguments, parts):  # noqa: F811
    Path("bad.smtx").write_text("2, 3, 3\n0 1 3\n1 0 9\n")
    code, _, err = call("run", "mine.toml", "--weights", *arguments)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert all(part in err for part in parts), err
    assert not measured
    assert not Path("results").exists()


def test_a_file_that_changes_meanwhile_is_a_row_that_says_so(call, checkpoint, monkeypatch):  # noqa: F811
    measure = Here.measure

    def later(self, work):
        torch.save({"a.weight": torch.eye(16, 24)}, "net.pt")
        return measure(self, work)

    monkeypatch.setattr(Here, "measure", later)
    code, _, err = call("run", "mine.toml", "--weights", "net.pt")
    assert code == 0, err
    for record in records.load(Path("results/mine")):
        assert record.status == "error"
        assert "net.pt:a.weight: has other connections" in record.message

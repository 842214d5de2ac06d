"""What a report says while it is made."""

import io

import pytest
from rich.console import Console

from sparsebench.commands import report
from sparsebench.views import folder as written
from tests.sparsebench.factory import sweep


@pytest.fixture
def said(monkeypatch):
    """The errors, as a file."""
    file = io.StringIO()
    monkeypatch.setattr(report, "errors", Console(file=file, width=40))
    return file


def test_of_many_records_each_step_is_a_line(said):
    with report.Progress("reading [records]", many=True) as progress:
        progress.told("table summary")
    assert said.getvalue() == "reading [records]\ntable summary\n"


def test_of_few_nothing_is_said_where_no_line_can_change(said):
    with report.Progress("reading", many=False) as progress:
        progress.told("table summary")
    assert said.getvalue() == ""


def test_a_large_file_is_read_and_written_with_a_word_on_each_step(said, monkeypatch, tmp_path):
    found = sweep(widths=(64,), batches=(1,), sparsities=(0.9,), phases=("inference",))
    (tmp_path / "records.jsonl").write_text("".join(r.model_dump_json() + "\n" for r in found))
    monkeypatch.setattr(report, "_MANY", 3)
    monkeypatch.setattr(report, "_LARGE", 1000)
    monkeypatch.setattr(written.plots, "figures", lambda points: iter(()))
    report._files(tmp_path, None)
    lines = said.getvalue().splitlines()
    assert lines[:3] == [
        f"reading {tmp_path / 'records.jsonl'}", "points of 5 records", "crossovers and leagues",
    ]  # fmt: skip
    assert "table measurements" in lines

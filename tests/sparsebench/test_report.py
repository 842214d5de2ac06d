"""The folder of tables and plots."""

import pytest

from sparsebench import report
from sparsebench.errors import InputError
from tests.sparsebench.factory import MACHINE, record, sweep

PROBED = MACHINE | {"roofline": {"matmul_gflops": 200, "stream_gb_s": 20}}


@pytest.fixture(scope="module")
def records():
    return sweep(
        widths=(512, 1024), batches=(128,), sparsities=(0.8, 0.99), phases=("train_step",),
        threads=(1, 2), machine=PROBED,
    )  # fmt: skip


def test_writes_every_table_and_plot_in_every_format(records, tmp_path):
    paths = report.write(records, tmp_path)
    assert sorted(paths) == sorted(p for p in tmp_path.rglob("*") if p.is_file())
    tables = {p.name for p in (tmp_path / "tables").iterdir()}
    for name in ("speedup", "crossover", "memory", "league", "measurements"):
        assert {f"{name}.md", f"{name}.csv", f"{name}.tex"} <= tables
    plots = {p.name for p in (tmp_path / "plots").iterdir()}
    names = ("speedup-train_step", "memory-train_step", "crossover", "roofline", "league")
    for name in (*names, "threads-train_step"):
        assert {f"{name}.png", f"{name}.svg"} <= plots


def test_the_same_records_give_the_same_bytes(records, tmp_path):
    first = {p.name: p.read_bytes() for p in report.write(records, tmp_path / "a")}
    again = {p.name: p.read_bytes() for p in report.write(records[::-1], tmp_path / "b")}
    assert first == again


def test_failures_alone_make_a_report(tmp_path):
    paths = report.write([record(None, status="timeout", message="after 60 s")], tmp_path)
    text = (tmp_path / "tables" / "failures.md").read_text()
    assert "timeout" in text
    assert "after 60 s" in text
    assert not [p for p in paths if p.suffix == ".png"]


def test_no_records_are_refused(tmp_path):
    with pytest.raises(InputError, match="no records"):
        report.write([], tmp_path)
    assert not list(tmp_path.iterdir())

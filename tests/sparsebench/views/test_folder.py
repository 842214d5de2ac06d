"""The folder of tables and plots."""

import pytest

from sparsebench.analysis.points import points
from sparsebench.errors import InputError
from sparsebench.views import folder as written_by
from sparsebench.views import plots, tables
from tests.sparsebench.factory import MACHINE, record, sweep

PROBED = MACHINE | {"roofline": {"matmul_gflops": 200, "stream_gb_s": 20}}


@pytest.fixture(scope="module")
def records():
    return sweep(
        widths=(512, 1024), batches=(128,), sparsities=(0.8, 0.99), phases=("train_step",),
        threads=(1, 2), machine=PROBED,
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(records, tmp_path_factory):
    """A folder, and what a report of the records says that it wrote there."""
    folder = tmp_path_factory.mktemp("report")
    return folder, written_by.write(records, folder)


def test_writes_every_table_and_plot_in_every_format(written):
    folder, paths = written
    assert sorted(paths) == sorted(p for p in folder.rglob("*") if p.is_file())
    tables = {p.name for p in (folder / "tables").iterdir()}
    for name in ("speedup", "crossover", "memory", "league", "measurements"):
        assert {f"{name}.md", f"{name}.csv", f"{name}.tex"} <= tables
    plots = {p.name for p in (folder / "plots").iterdir()}
    names = ("speedup-train_step", "memory-train_step", "crossover", "roofline", "league")
    for name in (*names, "threads-train_step"):
        assert {f"{name}.png", f"{name}.svg"} <= plots


def test_the_same_records_give_the_same_bytes(written, records, tmp_path):
    first = {p.name: p.read_bytes() for p in written[1]}
    again = {p.name: p.read_bytes() for p in written_by.write(records[::-1], tmp_path)}
    assert first == again


def test_failures_alone_make_a_report(tmp_path):
    paths = written_by.write([record(None, status="timeout", message="after 60 s")], tmp_path)
    text = (tmp_path / "tables" / "failures.md").read_text()
    assert "timeout" in text
    assert "after 60 s" in text
    assert not [p for p in paths if p.suffix == ".png"]


def test_no_records_are_refused(tmp_path):
    with pytest.raises(InputError, match="no records"):
        written_by.write([], tmp_path)
    assert not list(tmp_path.iterdir())


def test_convolutions_and_linear_layers_stand_apart():
    """Both in one set of records: no table row, no panel and no file mixes them."""
    shape = {"widths": (64, 128), "batches": (16,), "sparsities": (0.8, 0.9, 0.95, 0.99)}
    shape |= {"phases": ("forward_backward",)}
    linear = points(sweep(**shape))
    both = points(sweep(**shape) + sweep(**shape, operation="conv2d", kernel=3, padding=1, image=8))
    assert "speedup-forward_backward" in {name for name, _ in plots.figures(linear)}
    drawn = dict(plots.figures(both))
    for name in ("speedup-forward_backward-{}", "headline-{}", "crossover-{}", "league-{}"):
        assert {name.format("linear"), name.format("conv2d")} <= drawn.keys()
    assert "speedup-forward_backward" not in drawn
    titles = [axes.get_title() for axes in drawn["speedup-forward_backward-conv2d"].axes]
    assert titles == ["64→64 3×3 8²", "128→128 3×3 8²"]
    made = {table.name: table for table in tables.tables(both)}
    for name in ("summary", "speedup", "crossover"):
        rows = made[name].text
        assert set(zip(rows["operation"], rows["size"], strict=True)) == {
            ("linear", "64"), ("linear", "128"),
            ("conv2d", "64→64 3×3 8²"), ("conv2d", "128→128 3×3 8²"),
        }  # fmt: skip
    measured = made["measurements"].numbers
    assert set(measured["kernel"][measured["operation"] == "conv2d"]) == {3}
    only = {table.name: table for table in tables.tables(linear)}["measurements"].numbers
    assert "kernel" not in only

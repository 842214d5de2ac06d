"""Layers with structures whose speed-ups are known: in a table, and in a picture."""

import pytest

from sparsebench.analysis.points import points
from sparsebench.views import plots, tables
from tests.sparsebench.factory import record

# Seconds of a layer that is 90% sparse; dense takes 8.
SECONDS = {"random": 4.0, "blocks-8x1": 2.0, "blocks-16x16": 1.0, "small_world": 4.5}


def measured(sparsity, times):
    for topology, seconds in times.items():
        for name, taken in (("dense", 8.0), ("ours", seconds), ("torch_bsr", 3.0)):
            yield record(
                taken, implementation=name, topology=topology, sparsity=sparsity, noise=0.001
            )


def made(records):
    return next((t for t in tables.tables(points(records)) if t.name == "structures"), None)


def test_each_structure_is_a_column():
    records = [*measured(0.9, SECONDS), *measured(0.75, {"random": 8.0, "2:8": 16.0})]
    table = made(records)
    rows = {row["sparsity"]: row for row in table.text.to_dict("records")}
    assert {name: cell.split()[0] for name, cell in rows["90%"].items() if "×" in cell} == {
        "unstructured": "2.0×", "8x1": "4.0×", "16x16": "8.0×"
    }  # fmt: skip
    assert rows["90%"]["2:8"] == ""
    assert rows["75%"]["2:8"].split()[0] == "0.50×"
    assert list(table.text.columns)[-4:] == ["unstructured", "8x1", "16x16", "2:8"]
    numbers = table.numbers.set_index(["sparsity", "structure"])
    assert numbers.speedup[0.9, "16x16"] == pytest.approx(8.0)
    assert len(numbers) == 5  # a small world has no structure, and PyTorch's BSR is another's


def test_without_a_structure_there_is_none():
    assert made(measured(0.9, {"random": 4.0, "small_world": 4.5})) is None


def test_each_structure_is_a_line_of_the_picture():
    figures = dict(plots.figures(points(list(measured(0.9, SECONDS)))))
    (axes,) = figures["structures-1024-0.9"].axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["unstructured", "8x1", "16x16"]
    drawn = sorted(
        (y, x)
        for line in axes.lines
        if len(line.get_xdata()) == 1 and line.get_marker() == "o"
        for x, y in line.get_xydata()
    )
    assert drawn == [(0, pytest.approx(2.0)), (1, pytest.approx(4.0)), (2, pytest.approx(8.0))]

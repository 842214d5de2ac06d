"""Layers that were made in times that are known."""

import pytest

from sparsebench.analysis.points import points
from sparsebench.records import Memory
from sparsebench.views import plots, tables
from tests.sparsebench.factory import record

OF = {"random": 1e-3, "small_world": 4e-3}


@pytest.fixture(scope="module")
def every():
    memory = Memory(held=800_000, training_peak=200_000)
    made = {"phase": "construction", "batch": 1, "memory": memory, "width": 1000, "noise": 0.001}
    return points(
        [
            *(record(s * w, topology=n, **made | {"width": 1000 * w}) for n, s in OF.items()
              for w in (1, 2)),
            record(5e-3, implementation="dense", **made),
        ]
    )  # fmt: skip


def test_time_and_memory_are_told_for_each_number(every):
    (table,) = (t for t in tables.tables(every) if t.name == "construction")
    rows = {
        (r["implementation"], r["topology"], r["size"]): r for r in table.numbers.to_dict("records")
    }
    ours = rows["ours", "small_world", "1000"]
    assert ours["time per number [s]"] == pytest.approx(4e-8)
    assert ours["peak [B]"] == 1_000_000
    assert rows["dense", "random", "1000"]["time per number [s]"] == pytest.approx(5e-9)
    assert "10.0 B" in set(table.text["peak per number"])
    relative = next(t for t in tables.tables(every) if t.name == "topologies").numbers
    assert set(relative["relative time"].round(6)) == {4.0}


def test_a_line_for_each_topology(every):
    figure = dict(plots.figures(every))["construction"]
    (axes,) = figure.axes
    lines = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == 2]
    assert sorted(line[0, 1] for line in lines) == pytest.approx([1e-3, 4e-3])
    assert [text.get_text() for text in figure.legends[0].texts] == ["random", "small_world"]

"""Steps and rewirings whose times are known: what a step with its share of one takes."""

import pytest

from sparsebench.analysis.points import points
from sparsebench.records import Memory
from sparsebench.views import plots, tables
from tests.sparsebench.factory import record

STEP = {"dense": 4.0, "ours": 1.0, "rigl": 1.1, "masked_rigl": 5.0}
REWIRING = {"rigl": 11.1, "masked_rigl": 25.0}


@pytest.fixture(scope="module")
def every():
    return points(
        [
            record(seconds, implementation=name, phase=phase, memory=memory, noise=0.001)
            for phase, of in (("train_step", STEP), ("rewiring", REWIRING))
            for name, seconds in of.items()
            for memory in [Memory(held=100, training_peak=1000 if phase == "rewiring" else 10)]
        ]
    )


def test_a_rewiring_is_spread_over_the_steps_between_two(every):
    (table,) = (t for t in tables.tables(every) if t.name == "dynamic")
    rows = {row["implementation"]: row for row in table.numbers.to_dict("records")}
    assert rows.keys() == STEP.keys()
    rigl = rows["rigl"]
    assert rigl["rewiring [s]"] == pytest.approx(10.0)
    assert rigl["step of 10 [s]"] == pytest.approx(2.1)
    assert rigl["step of 100 [s]"] == pytest.approx(1.2)
    assert rigl["over dense"] == pytest.approx(4.0 / 1.2)
    assert rigl["over dense low"] < rigl["over dense"] < rigl["over dense high"]
    assert rigl["peak [B]"] == 1100
    assert rows["ours"]["step of 10 [s]"] == pytest.approx(1.0)
    assert rows["ours"]["peak [B]"] == 110
    texts = {row["implementation"]: row for row in table.text.to_dict("records")}
    assert texts["ours"]["a rewiring"] == ""
    assert texts["masked_rigl"]["1 rewiring in 100"] == "5.20 s"


def test_it_is_drawn_against_the_steps_between_two(every):
    figure = dict(plots.figures(every))["dynamic-0.9"]
    (axes,) = figure.axes
    lines = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == 4]
    assert len(lines) == len(STEP)
    assert axes.get_xlabel() == "steps between two rewirings"
    assert any(line[0, 1] == pytest.approx(11.1) for line in lines)


def test_there_is_nothing_to_say_where_nothing_is_rewired():
    still = points([record(1.0), record(2.0, implementation="dense")])
    assert "dynamic" not in {table.name for table in tables.tables(still)}

"""K-winners and zeros in inputs, where times are known."""

import io

import pytest
from rich.console import Console

from sparsebench.analysis.points import points
from sparsebench.views import plots, tables
from tests.sparsebench.factory import record


@pytest.fixture(scope="module")
def every():
    units = {"operation": "k_winners", "phase": "inference", "noise": 0.001}
    layer = {"phase": "inference", "noise": 0.001}
    return points(
        [
            record(1e-5, implementation="dense", **units),
            record(2e-4, implementation="ours", **units),
            *(
                record(seconds, implementation=name, input_sparsity=share, **layer)
                for name, of in {
                    "dense": {0.0: 4.0, 0.9: 4.0},
                    "ours": {0.0: 1.0, 0.9: 1.0},
                    "csc_nonzero": {0.0: 5.0, 0.9: 0.5},
                }.items()
                for share, seconds in of.items()
            ),
        ]
    )


def rows(every, name):
    (table,) = (t for t in tables.tables(every) if t.name == name)
    return table.numbers.to_dict("records"), table.text.to_dict("records")


def test_k_winners_are_beside_a_relu(every):
    ((numbers,), (text,)) = rows(every, "k-winners")
    assert numbers["implementation"] == "ours"
    assert numbers["over ReLU"] == pytest.approx(20.0)
    assert text["ReLU"].startswith("10.0 µs")


def test_what_gains_from_zeros_in_the_input_is_told(every):
    numbers, text = rows(every, "zeros")
    found = {(r["implementation"], r["zeros"]): r["over dense"] for r in numbers}
    assert found["csc_nonzero", 0.9] == pytest.approx(8.0)
    assert found["csc_nonzero", 0.0] == pytest.approx(0.8)
    assert found["ours", 0.9] == pytest.approx(4.0)
    shown = {row["implementation"]: row for row in text}
    assert shown["csc_nonzero"]["90% zeros"] == "500 ms, 8.0×"
    assert shown["ours"]["size"] == "1024"


def test_a_run_ends_with_every_share_of_zeros_in_one_table(every):
    console = Console(file=io.StringIO(), width=140)
    console.print(tables.terminal([point.record for point in every]))
    (heads,) = (line for line in console.file.getvalue().splitlines() if "90% zeros" in line)
    assert "0% zeros" in heads.replace("90% zeros", "")


def test_a_line_for_each_against_the_share_of_zeros(every):
    figure = dict(plots.figures(every))["zeros-inference-0.9"]
    (axes,) = figure.axes
    assert axes.get_title() == "1024 × 1024"
    lines = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == 2]
    assert {tuple(line[:, 0]) for line in lines} == {(0.0, 0.9)}
    assert len(lines) == 3


def test_there_is_nothing_to_say_without_them():
    plain = points([record(1.0), record(2.0, implementation="dense")])
    assert not {"k-winners", "zeros"} & {table.name for table in tables.tables(plain)}

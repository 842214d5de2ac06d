"""Cliffs, where one was planted."""

import pytest

from sparsebench.analysis.points import points
from sparsebench.views.tables.cliffs import cliffs
from tests.sparsebench.factory import record

SECONDS = {  # by batch and sparsity: 17 rows cost twice what 32 do at 90%, 1.25 times at 80%
    (16, 0.9): 1.0, (17, 0.9): 4.0, (32, 0.9): 2.0, (64, 0.9): 4.0,
    (16, 0.8): 2.0, (17, 0.8): 5.0, (32, 0.8): 4.0, (64, 0.8): 8.0,
}  # fmt: skip


def rows(records):
    return {row["by"]: row for row in cliffs(points(records)).numbers.to_dict("records")}


def test_a_cliff_is_found_where_it_is():
    records = [
        record(seconds, batch=batch, sparsity=sparsity, noise=0.01)
        for (batch, sparsity), seconds in SECONDS.items()
    ]
    found = rows(records)
    assert {n: found["batch"][n] for n in ("steps", "beyond", "certain")} == {
        "steps": 6, "beyond": 1, "certain": 1,
    }  # fmt: skip
    assert found["batch"]["worst"] == pytest.approx(2.0)
    # Along sparsity, the larger neighbour has fewer zeros: 4 against 5 at most.
    assert found["sparsity"]["beyond"] == 0
    assert found["sparsity"]["worst"] == pytest.approx(0.8)
    assert "width" not in found
    text = cliffs(points(records)).text
    assert text["where"].tolist()[0] == "1024, batch 17 against 32, 90%"


def test_what_noise_may_have_done_is_not_certain():
    noisy = [record(1.35, batch=17, noise=0.2), record(1.0, batch=32, noise=0.2)]
    assert rows(noisy)["batch"]["beyond"] == 1
    assert rows(noisy)["batch"]["certain"] == 0


def test_implementations_and_failures_are_no_neighbours():
    records = [
        record(9.0, batch=16, implementation="dense"),
        record(1.0, batch=32, implementation="ours"),
        record(None, batch=64, implementation="ours"),
    ]
    assert cliffs(points(records)).text.empty

"""Standings over problems whose winners are known."""

import pytest

from sparsebench.analysis.league import league
from sparsebench.analysis.points import points
from sparsebench.records import Memory, Round
from tests.sparsebench.factory import record

TIMES = {  # seconds by sparsity: who is the fastest changes
    "ours": {0.5: 2.0, 0.9: 1.0, 0.99: 1.0},
    "dense": {0.5: 1.0, 0.9: 4.0, 0.99: 8.0},
    "peer": {0.5: 8.0, 0.9: None, 0.99: 2.0},
    "broken": {0.5: None, 0.9: None, 0.99: None},
}


def test_standings():
    records = [
        record(
            seconds,
            implementation=name,
            sparsity=sparsity,
            memory=Memory(held=400 if name == "dense" else 100, training_peak=0),
            **({} if seconds else {"status": "oom" if name == "peer" else "incorrect"}),
        )
        for name, times in TIMES.items()
        for sparsity, seconds in times.items()
    ]
    table = {s.implementation: s for s in league(points(records))}
    assert list(table) == ["ours", "dense", "peer", "broken"]
    assert table["ours"].relative_time.value == pytest.approx(2 ** (1 / 3))
    assert table["dense"].relative_time.value == pytest.approx(32 ** (1 / 3))
    assert table["peer"].relative_time.value == pytest.approx(4.0)
    assert [s.wins for s in table.values()] == [2, 1, 0, 0]
    assert [s.timed for s in table.values()] == [3, 3, 2, 0]
    assert {s.problems for s in table.values()} == {3}
    assert table["peer"].failures == {"oom": 1}
    assert table["broken"].failures == {"incorrect": 3}
    assert table["broken"].relative_time is None
    assert table["ours"].memory_ratio == pytest.approx(0.25)


def test_who_enters_where_it_is_fast_alone_does_not_stand_first():
    times = {"ours": (2.0, 1.0, 1.0), "dense": (4.0, 4.0, 4.0), "choosy": (1.9, None, None)}
    records = [
        record(seconds, implementation=name, sparsity=sparsity)
        for name, row in times.items()
        for sparsity, seconds in zip((0.5, 0.9, 0.99), row, strict=True)
        if seconds
    ]
    found = league(points(records))
    assert [standing.implementation for standing in found] == ["ours", "dense", "choosy"]
    assert found[-1].relative_time.value == 1.0


def duel(ours, dense):
    """The counts of two implementations whose rounds took these seconds."""
    records = [
        record(1.0, implementation=name).model_copy(
            update={"samples": seconds, "rounds": [Round(samples=1)] * len(seconds)}
        )
        for name, seconds in (("ours", ours), ("dense", dense))
    ]
    return {s.implementation: dict(s.outcomes) for s in league(points(records))}


def test_a_win_needs_an_interval_that_excludes_1():
    assert duel([1.0, 1.01, 1.02], [2.0, 2.01, 2.02]) == {"ours": {"win": 1}, "dense": {}}
    unsure = duel([1.0, 1.01, 1.02], [1.5, 1.0, 1.1])
    assert unsure == {"ours": {"tie": 1}, "dense": {"tie": 1}}
    assert duel([1.0, 1.01], [2.0, 2.01]) == {"ours": {"fastest": 1}, "dense": {}}


def test_the_interval_of_a_league_is_that_of_its_problems_too():
    """Ours is certain at each problem, and far ahead at some only."""
    records = [
        record(seconds, implementation=name, sparsity=sparsity)
        for n, sparsity in enumerate((0.5, 0.6, 0.7, 0.8, 0.9, 0.95))
        for name, seconds in (("ours", 1.0), ("dense", 2.0 ** (n % 2 * 4)))
    ]
    dense = next(s for s in league(points(records)) if s.implementation == "dense")
    assert dense.relative_time.low < 2 < 4 < 8 < dense.relative_time.high


def test_problems_of_two_machines_are_won_on_each():
    other = {"id": "ffff"}
    records = [
        record(1.0), record(2.0, implementation="dense"),
        record(2.0, machine=other), record(1.0, implementation="dense", machine=other),
    ]  # fmt: skip
    assert [(s.wins, s.problems) for s in league(points(records))] == [(1, 2), (1, 2)]

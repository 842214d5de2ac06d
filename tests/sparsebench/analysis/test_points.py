"""Which records may meet in a ratio, and which replaces which."""

import pytest

from sparsebench.analysis.grouping import split
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.points import points
from sparsebench.analysis.stale import stale
from tests.sparsebench.factory import MACHINE, record, sweep

OTHER = {"id": "ffff", "cpu": {"model": "Bellows 1"}}


def test_machines_are_kept_apart():
    every = points(
        [
            record(1.0, implementation="dense"),
            record(0.5),
            record(8.0, implementation="dense", machine=OTHER),
            record(2.0, machine=OTHER),
            record(2.0, implementation="peer", machine=OTHER),
        ]
    )
    for point in every:
        assert {rival.machine for rival in point.rivals.values()} == {point.machine}
    assert {len(p.rivals) for p in every if p.machine == "Anvil 9000"} == {2}
    assert [part.title.split(",")[0] for part in split(every)] == ["Anvil 9000", "Bellows 1"]
    assert [part.name for part in split(every, "phase")] == [
        "train_step-Anvil_9000",
        "train_step-Bellows_1",
    ]


def test_machines_of_one_name_are_told_apart_by_their_identity():
    twin = MACHINE | {"id": "2c3d"}
    names = {p.machine for p in points([record(1.0), record(1.0, machine=twin)])}
    assert names == {"Anvil 9000 (0a1b)", "Anvil 9000 (2c3d)"}


@pytest.mark.parametrize("newest_first", [False, True])
def test_the_newest_record_of_a_case_counts(newest_first):
    records = [record(None, status="oom", started="2026-01-01"), record(1.0, started="2026-01-02")]
    (point,) = points(reversed(records) if newest_first else records)
    assert point.ok


def test_the_order_of_points_does_not_depend_on_the_order_of_records():
    records = sweep(widths=(512, 1024), sparsities=(0.5, 0.9))
    forward, backward = points(records), points(reversed(records))
    assert [p.case for p in forward] == [p.case for p in backward]


def test_a_point_that_failed_has_no_baseline_to_offer():
    ours, dense = points([record(1.0), record(None, implementation="dense", status="oom")])
    assert ours.baseline is None
    assert not dense.ok


def with_torch(version, own=""):
    told = {"torch": version, "allocator": "glibc", "threads": "default", "method": "2"}
    return MACHINE | {"software": told | {"implementation": own}}


def test_a_ratio_stays_within_one_software():
    """Yesterday's dense and today's ours, of another torch, have no ratio."""
    old, new = with_torch("2.13"), with_torch("2.14")
    dense = record(4.0, implementation="dense", machine=old, started="2026-01-01")
    peer = record(2.0, implementation="peer", machine=old, started="2026-01-01")
    ours = record(1.0, machine=new, started="2026-01-02")
    by_name = {p.case.implementation: p for p in points([dense, peer, ours])}
    assert by_name["ours"].baseline is None
    assert METRICS["speedup"].of(by_name["ours"]) is None
    assert METRICS["relative_time"].of(by_name["ours"]).value == 1.0
    assert METRICS["speedup"].of(by_name["peer"]).value == 2.0
    assert len(stale(list(by_name.values()))) == 1
    assert "2 of 3 points" in stale(list(by_name.values()))[0]
    assert "torch 2.13 → 2.14" in stale(list(by_name.values()))[0]

    again = record(3.0, implementation="dense", machine=new, started="2026-01-03")
    by_name = {p.case.implementation: p for p in points([dense, peer, ours, again])}
    assert METRICS["speedup"].of(by_name["ours"]).value == pytest.approx(3.0)
    assert METRICS["speedup"].of(by_name["peer"]).value == 2.0  # still its own time's
    assert by_name["dense"].record is again


def test_another_state_of_an_implementation_replaces_it_and_keeps_its_rivals():
    dense = record(4.0, implementation="dense", machine=with_torch("2.14", "d"))
    old = record(2.0, machine=with_torch("2.14", "a"), started="2026-01-01")
    new = record(1.0, machine=with_torch("2.14", "b"), started="2026-01-02")
    (point,) = (p for p in points([old, new, dense]) if p.case.implementation == "ours")
    assert METRICS["speedup"].of(point).value == 4.0
    assert stale(points([old, new, dense])) == []

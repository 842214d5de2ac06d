"""Which records may meet in a ratio, and which replaces which."""

import pytest

from sparsebench.analysis.points import points, split
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

"""Reading many records, and what becomes of them in memory."""

import gc
import weakref

import pytest

from sparsebench.records import load
from sparsebench.records.store import uncollected
from sparsebench.views.frames import frame_of
from tests.sparsebench.factory import MACHINE, record, sweep


@pytest.fixture
def thawed():
    """As in a program of a user's: nothing is kept out of collections."""
    gc.unfreeze()
    yield
    gc.collect()
    gc.freeze()


def test_what_was_made_without_collections_counts_as_old(thawed):
    with uncollected():
        assert not gc.isenabled()
        made = [[n] for n in range(10_000)]
    assert gc.isenabled()
    young = {id(each) for age in (0, 1) for each in gc.get_objects(generation=age)}
    assert not young.intersection(map(id, made))
    assert gc.get_freeze_count() == 0


def test_what_others_froze_stays_frozen():
    gc.freeze()
    try:
        before = gc.get_freeze_count()
        with uncollected():
            made = [[n] for n in range(10_000)]
        assert len(made) == 10_000
        # Fewer by those that other threads have let go of meanwhile; none, had all been unfrozen.
        assert gc.get_freeze_count() > before // 2 > 0
    finally:
        gc.unfreeze()


def test_of_little_nobody_asks_what_is_frozen(monkeypatch):
    """That takes 20 ms where a million objects are, for each of many small files."""
    monkeypatch.setattr(gc, "get_freeze_count", lambda: pytest.fail("asked"))
    gc.collect(0)
    with uncollected():
        made = [[]]
    assert gc.isenabled()
    assert made


def test_a_frame_keeps_no_record_alive():
    found = sweep(widths=(64,), batches=(1,), sparsities=(0.5, 0.9), phases=("inference",))
    gone = [weakref.ref(record) for record in found]
    frame = frame_of(found)
    gc.disable()  # it is not left to a collection
    try:
        del found
        assert len(frame) == 10
        assert not any(record() for record in gone)
    finally:
        gc.enable()


def test_records_of_a_machine_share_what_is_told_of_it(tmp_path):
    machines = [MACHINE, MACHINE, MACHINE | {"software": {"torch": "2.14"}}, MACHINE]
    machines.append(MACHINE | {"memory_gib": 24})
    told = [record(1.0, width=16 * n, machine=m) for n, m in enumerate(machines, start=1)]
    (tmp_path / "records.jsonl").write_text("".join(r.model_dump_json() + "\n" for r in told))
    first, second, changed, last, more = load(tmp_path)
    assert first.machine is second.machine is last.machine
    assert [r.machine for r in (first, second, changed, last, more)] == machines
    assert first.software == {} != changed.software
    assert len({r.identity[1] for r in (first, second, last)}) == 1
    assert changed.identity[1] != last.identity[1]

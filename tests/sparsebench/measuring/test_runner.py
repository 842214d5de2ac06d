"""Order, rounds, and a record for every case whatever happens."""

import itertools
import time
from collections import namedtuple
from dataclasses import replace

import pytest
import torch

from sparsebench.cases.case import Case
from sparsebench.cases.settings import Settings
from sparsebench.errors import StoreError
from sparsebench.interruption import Interrupted
from sparsebench.measuring import isolation, runner, worker
from sparsebench.measuring.isolation import Failure
from sparsebench.measuring.timing import Times
from sparsebench.measuring.worker import Outcome
from sparsebench.records import Store, load
from tests.sparsebench.cases.test_case import CASE as SOME

CASE = replace(SOME, threads=torch.get_num_threads())
SETTINGS = Settings(rounds=2, sample_s=1e-4, timeout_s=600)


def grid(**values):
    return [
        replace(CASE, **dict(zip(values, combination, strict=True)))
        for combination in itertools.product(*values.values())
    ]


def run(cases, folder, settings=SETTINGS, **options):
    with Store(folder) as store:
        return list(runner.run(cases, store, settings, machine=lambda case: {"id": "m"}, **options))


@pytest.fixture
def turns(monkeypatch):
    """What was called in which order; every call answers a time."""
    called = []

    def call(function, case, *args, timeout_s, log):
        called.append((function.__name__, case.implementation, case.phase))
        return Outcome("ok", times=Times([float(len(called)) / 1e6], 1))

    monkeypatch.setattr(isolation, "call", call)
    return called


def test_the_order_is_shuffled_and_keeps_rivals_together():
    cases = grid(
        implementation=["dense", "masked", "ours"],
        sparsity=[0.5, 0.8, 0.9],
        phase=["inference", "train_step"],
    )
    orders = [runner.ordered(cases, seed) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    for order in orders:
        assert set(order) == set(cases)
        problems = [problem for problem, _ in itertools.groupby(order, lambda c: c.problem)]
        assert len(problems) == len(set(problems)) == 6
        sparsities = [s for s, _ in itertools.groupby(order, lambda c: c.sparsity)]
        assert len(sparsities) == 3
    assert (
        len({order[0].implementation for order in map(runner.ordered, [cases] * 9, range(9))}) > 1
    )


def test_numbers_of_threads_take_turns(monkeypatch, tmp_path):
    called = []

    def call(function, case, *args, timeout_s, log):
        called.append((function.__name__, case.phase, case.threads))
        return Outcome("ok", times=Times([1e-3], 1))

    monkeypatch.setattr(isolation, "call", call)
    records = run(
        grid(implementation=["ours"], phase=["inference", "train_step"], threads=[1, 2]),
        tmp_path,
        replace(SETTINGS, rounds=2),
    )
    assert [name for name, *_ in called].count("prepare") == 1
    threads = [threads for name, _, threads in called if name == "measure"]
    assert sorted(threads[:2]) == [1, 2]
    assert threads[2:4] == threads[1::-1]
    assert len({phase for name, phase, _ in called[:5] if name == "measure"}) == 1
    assert len(records) == 4


def test_rivals_take_turns_there_and_back(turns, tmp_path):
    cases = grid(implementation=["dense", "masked", "ours"], phase=["inference", "train_step"])
    records = run(cases, tmp_path, replace(SETTINGS, rounds=3))
    assert [name for name, *_ in turns].count("prepare") == 1  # all share their numbers
    measured = [turn[1:] for turn in turns if turn[0] == "measure"]
    there = measured[:3]
    assert measured[3:6] == there[::-1]
    assert measured[6:9] == there
    assert {phase for _, phase in measured[:9]} != {phase for _, phase in measured[9:]}
    assert all(len(record.samples) == 3 for record in records)
    assert all(record.run["rounds"] == 3 for record in records)


@pytest.mark.parametrize("turn", [1, 2, 4, 6])
def test_an_interruption_loses_the_turn_under_way_alone(turn, monkeypatch, turns, tmp_path):
    answer, taken = isolation.call, itertools.count(1)

    def interrupt(function, *args, **options):
        if function is worker.measure and next(taken) == turn:
            raise Interrupted(2)
        return answer(function, *args, **options)

    monkeypatch.setattr(isolation, "call", interrupt)
    with pytest.raises(Interrupted):
        run(grid(implementation=["dense", "masked", "ours"]), tmp_path)
    order = [name for function, name, _ in turns if function == "measure"]
    assert len(order) == turn - 1
    kept = load(tmp_path)
    assert {record.case.implementation for record in kept} == set(order)
    for record in kept:
        assert len(record.samples) == record.run["rounds"]
        assert record.run["rounds"] == order.count(record.case.implementation)


def test_a_slow_case_has_one_round(monkeypatch, turns, tmp_path):
    monkeypatch.setattr(runner, "SLOW_S", 0.0)
    assert len(run(grid(implementation=["dense"]), tmp_path)[0].samples) == 1


def test_records_are_on_disk_when_they_are_yielded(in_process, tmp_path):
    cases = grid(implementation=["dense", "ours"])
    with Store(tmp_path) as store:
        for number, record in enumerate(
            runner.run(cases, store, SETTINGS, machine=lambda case: {"id": "m"}), start=1
        ):
            assert load(tmp_path)[number - 1] == record
            assert record.status == "ok", record.message
            assert record.errors.keys() == {"output", "input", "values", "bias"}
            assert record.wall_s > 0
            assert record.run["seed"] == SETTINGS.seed
    assert not (tmp_path / ".scratch").exists()


@pytest.mark.parametrize("status", ["oom", "timeout", "error", "incorrect"])
def test_a_failure_is_a_record_and_the_rest_goes_on(status, turns, monkeypatch, tmp_path):
    calls = isolation.call

    def call(function, case, *args, **options):
        if function is worker.measure and case.implementation == "masked":
            if status == "incorrect":
                return Outcome(status, "why")
            raise Failure(status, "why")
        return calls(function, case, *args, **options)

    monkeypatch.setattr(isolation, "call", call)
    records = run(grid(implementation=["dense", "masked", "ours"]), tmp_path)
    assert {r.case.implementation: (r.status, r.message) for r in records} == {
        "dense": ("ok", ""),
        "masked": (status, "why"),
        "ours": ("ok", ""),
    }
    assert load(tmp_path) == records


def test_a_failure_in_a_later_round_leaves_no_time(turns, monkeypatch, tmp_path):
    calls = isolation.call

    def call(function, case, *args, **options):
        if function is worker.measure and args[-1] is not None:
            raise Failure("error", "late")
        return calls(function, case, *args, **options)

    monkeypatch.setattr(isolation, "call", call)
    (record,) = run(grid(implementation=["dense"]), tmp_path)
    assert (record.status, record.message, record.samples) == ("error", "late", [])


def test_problems_that_cannot_be_made_say_so(turns, monkeypatch, tmp_path):
    def call(function, *args, **options):
        raise Failure("oom", "too large")

    monkeypatch.setattr(isolation, "call", call)
    (record,) = run(grid(implementation=["dense"]), tmp_path)
    assert (record.status, record.message) == ("oom", "preparing the problem: too large")


def test_what_is_refused_starts_no_process(turns, tmp_path):
    (record,) = run(grid(implementation=["torch_csr"], dtype=["bfloat16"]), tmp_path)
    assert record.status == "unsupported"
    assert "bfloat16" in record.message
    assert turns == []


def test_no_problem_is_begun_after_the_deadline(turns, tmp_path):
    cases = grid(implementation=["dense"], sparsity=[0.5, 0.9])
    assert run(cases, tmp_path, deadline=time.monotonic() - 1) == []
    assert len(run(cases, tmp_path, deadline=time.monotonic() + 600)) == 2


def test_a_full_disk_ends_the_run_with_a_clear_error(turns, monkeypatch, tmp_path):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(runner.shutil, "disk_usage", lambda path: usage(1000))
    with pytest.raises(StoreError, match="disk is full"):
        run(grid(implementation=["dense"]), tmp_path)


def test_what_is_under_way_is_told(turns, tmp_path):
    seen = []
    run(grid(implementation=["dense", "ours"]), tmp_path, under_way=seen.append)
    assert len(seen) == 4
    assert isinstance(seen[0], Case)


def test_a_crash_in_a_real_process_costs_one_record(tmp_path):
    topologies = "random", "file:gone.mtx@0a1b2c3d"  # of the latter there is no file
    records = run(grid(implementation=["dense", "ours"], topology=topologies), tmp_path)
    statuses = {(r.case.topology == "random", r.status) for r in records}
    assert statuses == {(True, "ok"), (False, "error")}
    assert all("preparing the problem" in r.message for r in records if r.status == "error")

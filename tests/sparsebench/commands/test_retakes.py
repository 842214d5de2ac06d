"""What other work disturbed is taken again later, up to a budget, and decides nothing meanwhile."""

import signal
from pathlib import Path

import pytest

from sparsebench import interruption, records
from sparsebench.measuring import isolation, machine, retakes, roofline, runner
from sparsebench.measuring.isolation import Failure
from sparsebench.measuring.timing import Times
from sparsebench.measuring.worker import Outcome
from sparsebench.records import Round
from tests.sparsebench.commands.test_cli import call  # noqa: F401  # a fixture

WHY = "other work had a core in 3 of 3 samples"


class Turns(list):
    """Every turn as (case, calls a sample). The first `disturbed` ones of a case are, of ours."""

    disturbed = 0
    then = None  # how a turn after those fails


@pytest.fixture
def turns(monkeypatch):
    taken, taken_of = Turns(), {}

    def answer(function, *args, **options):
        if function is roofline.probe:
            return {"matmul_gflops": 1.0}
        if function is not runner.worker.measure:
            return Outcome("ok")
        case, earlier = args[0], args[-1]
        number = taken_of[case] = taken_of.get(case, 0) + 1
        taken.append((case, earlier and earlier.calls_per_sample))
        bad = case.implementation == "ours" and number <= taken.disturbed
        if taken.then and number > taken.disturbed and case.implementation == "ours":
            raise taken.then
        told = Round(disturbed=WHY if bad else "", spoiled=[0, 1, 2] if bad else [])
        return Outcome("ok", times=Times([0.9 if bad else 1e-3] * 3, 50), round=told)

    monkeypatch.setattr(isolation, "call", answer)
    monkeypatch.setattr(machine, "busy", lambda: 0.0)
    monkeypatch.setattr(retakes, "_LEAST_S", 3600.0)  # however busy the machine is
    return taken


def load():
    return {r.case: r for r in records.load(Path("results/mine"))}


def run(call, *more):  # noqa: F811
    path = Path("mine.toml")
    path.write_text(path.read_text().replace("rounds = 1", "rounds = 2"))
    return call("run", "mine.toml", "-f", "width=8", *more)


def test_a_quiet_sweep_says_so_in_one_line(call, turns):  # noqa: F811
    code, out, _ = run(call)
    assert code == 0
    assert "none of 4 cases was disturbed by other work" in out
    assert len(turns) == 4 * 2


def test_a_disturbed_turn_is_taken_again_when_all_others_have_been(call, turns):  # noqa: F811
    turns.disturbed = 1
    code, out, _ = run(call)
    assert code == 0
    assert "2 of 4 cases were disturbed by other work, and taken again" in out
    assert "allowed): all have rounds that were not" in out
    again = turns[8:]
    assert {case.implementation for case, _ in again} == {"ours"}
    assert len(again) == 2
    assert {calls for _, calls in again} == {5}  # shorter samples fit between others' turns
    for case, record in load().items():
        assert not record.disturbed
        if case.implementation == "ours":
            assert [turn.retaken for turn in record.rounds] == [0, 0, 1]
            assert record.clean == [1, 2]
            assert sum(map(len, record.clean_rounds().values())) == 6
            assert record.samples[:3] == [0.9] * 3  # the first result stays


def test_what_stays_disturbed_is_marked_and_the_budget_said(call, turns):  # noqa: F811
    turns.disturbed = 99
    code, out, _ = run(call)
    assert code == 0
    assert "2 of 4 cases were disturbed by other work, and taken again (0:" in out
    assert ", of 1:00:00 allowed); 2 stay so: they are marked ! in tables" in out
    assert "and decide nothing; --retry-failed takes them again" in out
    assert len(turns) == 8 + 2 * retakes._MOST
    assert {r.disturbed for r in load().values()} == {"", WHY}
    for case, record in load().items():
        assert bool(record.disturbed) == (case.implementation == "ours")
        assert record.status == "ok"


def test_no_budget_no_retakes(call, turns):  # noqa: F811
    turns.disturbed = 99
    path = Path("mine.toml")
    path.write_text("retake = 0\n" + path.read_text())
    _, out, _ = run(call)
    assert "2 of 4 cases were disturbed by other work; 2 stay so" in out
    assert len(turns) == 8


def test_a_failure_when_taken_again_costs_no_record(call, turns):  # noqa: F811
    turns.disturbed = 2
    turns.then = Failure("timeout", "too long")
    run(call)
    assert len(turns) == 8 + 2 * retakes._MOST  # not until the budget ends
    ours = [r for c, r in load().items() if c.implementation == "ours"]
    assert {r.status for r in ours} == {"ok"}
    assert {r.disturbed for r in ours} == {WHY}


def test_what_stayed_disturbed_is_measured_anew_when_asked(call, turns):  # noqa: F811
    turns.disturbed = 2 + retakes._MOST
    run(call)
    taken = len(turns)
    run(call)
    assert len(turns) == taken
    run(call, "--retry-failed")
    assert len(turns) == taken + 2 * 2
    assert not any(r.disturbed for r in load().values())


def test_an_interruption_of_retakes_loses_nothing(call, turns, monkeypatch):  # noqa: F811
    turns.disturbed = 99
    answer = isolation.call

    def interrupt(function, *args, **options):
        if len(turns) == 9:
            raise interruption.Interrupted(signal.SIGINT)
        return answer(function, *args, **options)

    monkeypatch.setattr(isolation, "call", interrupt)
    code, _, err = run(call)
    assert code == 130
    assert "interrupted while disturbed cases were taken again: every case has a record" in err
    assert len(load()) == 4

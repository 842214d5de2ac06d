"""Advice from records that follow known laws, and once from real measurements."""

import json
import re
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sparsebench
from sparsebench import advisor, cli
from sparsebench.advisor import Question, on_the_spot
from sparsebench.advisor.interpolation import from_records
from sparsebench.analysis.points import points
from sparsebench.commands.advise import command
from sparsebench.errors import InputError
from sparsebench.measuring import isolation, machine, retakes, runner
from sparsebench.measuring.timing import Times
from sparsebench.measuring.worker import Outcome
from sparsebench.records import Round, Store, load
from tests.sparsebench.factory import MACHINE, never_disturbed, record, sweep

HERE = MACHINE["id"]
RECORDS = sweep(widths=(512, 2048), batches=(1, 128), phases=("inference",))


def question(**changes):
    given = {
        "in_features": 2048, "out_features": 2048, "sparsity": 0.9, "batch": 128,
        "phase": "inference", "threads": 2,
    }  # fmt: skip
    return Question(**given | changes)


def test_a_measured_point_is_answered_as_measured():
    advice = from_records(question(), RECORDS, HERE)
    assert [c.implementation for c in advice.candidates] == [
        "ours",
        "peer",
        "dense",
        "coo",
    ]
    assert advice.told
    assert advice.best.speedup.value == pytest.approx(5.0)
    assert advice.best.speedup.low < 5.0 < advice.best.speedup.high
    assert advice.crossover.sparsity.value == pytest.approx(0.5)
    assert advice.source == "from 3 records of this machine"


@pytest.mark.parametrize("batch", [1, 7, 128])
@pytest.mark.parametrize("size", [(600, 600), (512, 2048), (1900, 1000)])
@pytest.mark.parametrize("sparsity", [0.5, 0.93, 0.985])
def test_between_points_the_law_is_found(batch, size, sparsity):
    """`ours` is 1 / (2 · density) times as fast as dense at every size and batch."""
    asked = question(in_features=size[0], out_features=size[1], batch=batch, sparsity=sparsity)
    advice = from_records(asked, RECORDS, HERE)
    speedup = {c.implementation: c.speedup.value for c in advice.candidates}
    assert speedup["ours"] == pytest.approx(1 / (2 * (1 - sparsity)))
    assert speedup["peer"] == pytest.approx(1 / (5 * (1 - sparsity)))
    assert advice.crossover.sparsity.value == pytest.approx(0.5)
    assert "interpolated" in advice.source
    assert advice.best.implementation == ("ours" if sparsity > 0.5 else advice.best.implementation)


def test_by_memory_the_smallest_is_first():
    small = [
        r.model_copy(update={"memory": r.memory.model_copy(update={"held": 10})})
        if r.case.implementation == "coo" else r
        for r in RECORDS
    ]  # fmt: skip
    assert from_records(question(), small, HERE, by_memory=True).best.implementation == "coo"
    assert from_records(question(), small, HERE).best.implementation == "ours"


def test_dense_is_the_answer_where_it_is_fastest():
    slow = sweep(
        widths=(64,), batches=(1,), phases=("inference",), implementations=("dense", "coo")
    )
    asked = question(in_features=64, out_features=64, batch=1)
    advice = from_records(asked, slow, HERE)
    assert advice.best.implementation == "dense"
    assert advice.crossover.sparsity.value == pytest.approx(0.975)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 256}, {"in_features": 4096, "out_features": 4096}, {"sparsity": 0.3},
        {"phase": "train_step"}, {"threads": 1}, {"dtype": "bfloat16"}, {"device": "cuda"},
        {"in_features": 4096, "out_features": 512},
    ],
)  # fmt: skip
def test_nothing_is_extrapolated(changes):
    assert from_records(question(**changes), RECORDS, HERE) is None


def test_another_machines_records_do_not_count():
    assert from_records(question(), RECORDS, "another") is None


def test_holes_in_the_grid_cost_the_candidates_that_have_them():
    holed = [r for r in RECORDS if not (r.case.implementation == "ours" and r.case.batch == 1)]
    names = {c.implementation for c in from_records(question(batch=7), holed, HERE).candidates}
    assert names == {"dense", "peer", "coo"}
    failed = [*RECORDS, record(None, implementation="ours", width=2048, phase="inference",
                               started="2999")]  # fmt: skip
    names = {c.implementation for c in from_records(question(), failed, HERE).candidates}
    assert "ours" not in names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sparsity": 1.0}, r"sparsity must be in \[0, 1\), got 1"),
        ({"batch": 0}, "batch must be"),
        ({"dtype": "int8"}, "dtype must be one of float64, float32, .*; got 'int8'"),
    ],
)
def test_numbers_that_make_no_sense(changes, message):
    with pytest.raises(InputError, match=message):
        question(**changes)


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = MACHINE | {"id": machine.fingerprint()["id"]}
    with Store(Path("results/mine")) as store:
        for each in RECORDS:
            store.append(each.model_copy(update={"machine": here}))

    def call(*arguments):
        size = ("--in", "2048", "--out", "2048", "--batch", "128", "--threads", "2")
        return CliRunner().invoke(cli.app, ["advise", *size, *arguments])

    return call


def test_the_command_answers_from_records(call):
    done = call("--sparsity", "0.93")
    assert done.exit_code == 0, done.output
    assert "Use ours: 7.1×" in done.output
    assert "faster than dense: 50%" in done.output
    assert "interpolated" in done.output
    answer = json.loads(call("--sparsity", "0.9", "--json").stdout)
    assert answer["candidates"][0]["implementation"] == "ours"
    assert answer["candidates"][0]["speedup"]["value"] == pytest.approx(5.0)
    wrong = call("--sparsity", "0.9", "--dtype", "int8")
    assert isinstance(wrong.exception, InputError)
    assert "measuring" not in wrong.output  # nothing is announced that will not be
    wrong = call("--sparsity", "0.9", "--records", "nowhere")
    assert isinstance(wrong.exception, InputError)
    assert "nowhere: no such" in str(wrong.exception)


@pytest.mark.slow
def test_what_no_record_covers_is_measured_and_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(advisor.on_the_spot, "_NEVER", set(advisor.on_the_spot.IMPLEMENTATIONS)
                        - {"dense", "ours"})  # fmt: skip
    # Whatever else this machine does: that times are left out which it disturbs is shown elsewhere.
    never_disturbed(monkeypatch)
    advice = sparsebench.advise(96, 64, sparsity=0.9, batch=4, train=True)
    found = load(Path("results/advise"))
    timed = {p.case.implementation: p for p in points(found) if p.case.sparsity == 0.9}
    assert all(r.status == "ok" for r in found)
    ratio = timed["dense"].time[0] / timed["ours"].time[0]
    speedup = {c.implementation: c.speedup.value for c in advice.candidates}
    assert speedup["ours"] == pytest.approx(ratio)
    assert advice.best.implementation == ("ours" if ratio > 1 else "dense")
    assert {r.round_count for r in found} == {3}
    assert advice.told == (not advice.ties)
    assert advice.source == "measured now"
    assert {r.case.phase for r in found} == {"forward_backward"}
    # The next time it is known, and nothing is measured.
    monkeypatch.setattr(advisor, "measure", lambda *_, **__: pytest.fail("measured again"))
    assert (
        sparsebench.advise(96, 64, sparsity=0.9, batch=4, train=True).candidates
        == advice.candidates
    )


def shaken(records, noise):
    """The records with rounds that differ, and that of `ours` as fast as dense."""
    return [
        record(2.0, noise=noise, implementation=r.case.implementation, width=2048,
               phase="inference", sparsity=r.case.sparsity)
        for r in records if r.case.implementation in ("ours", "dense")
        and r.case.in_features == 2048 and r.case.batch == 128
    ]  # fmt: skip


def test_what_intervals_do_not_tell_is_not_told(monkeypatch):
    advice = from_records(question(), shaken(RECORDS, 0.2), HERE)
    assert not advice.told
    assert {advice.best.implementation, *advice.ties} == {"ours", "dense"}
    said = []
    monkeypatch.setattr(command.console, "print", lambda text, **_: said.append(text))
    monkeypatch.setattr(command.output, "show", lambda table: None)
    command._show(advice, by_memory=False)
    assert said[0].startswith("Can't tell ")
    assert "the dense layer" in said[0]


def test_what_no_user_has_is_never_recommended():
    quick = [
        record(1e-9, implementation=name, width=2048, phase="inference")
        for name in ("auto", "reference", "masked")
    ]
    advice = from_records(question(), [*RECORDS, *quick], HERE)
    assert advice.best.implementation == "ours"
    assert not {"auto", "reference", "masked"} & {c.implementation for c in advice.candidates}
    assert not any(on_the_spot._serves(name) for name in ("auto", "reference", "masked"))


def test_two_processes_are_no_answer():
    few = [r.model_copy(update={"rounds": r.rounds[:2], "samples": r.samples[:2]}) for r in RECORDS]
    assert from_records(question(), few, HERE) is None


def test_it_measures_alone_and_says_when_others_are_busy(tmp_path, monkeypatch):
    held, said = [], []

    @contextmanager
    def measuring(*, waiting):
        held.append("held")
        yield
        held.append("left")

    monkeypatch.setattr(on_the_spot.hostlock, "measuring", measuring)
    monkeypatch.setattr(on_the_spot.machine, "busy", lambda: 0.5)
    monkeypatch.setattr(on_the_spot.runner, "run", lambda *_, **__: iter([held.append("ran")] * 0))
    asked = question(in_features=64, out_features=64)
    assert list(on_the_spot.measure(asked, tmp_path, told=said.append)) == []
    assert held == ["held", "left"] or held[0] == "held"
    assert "other programs take 50% of the CPU" in said[0]


WHY = "other work had a core in 3 of 3 samples"


@pytest.fixture
def spoiled(tmp_path, monkeypatch):
    """Turns that are made up: the first `spoiled.count` ones of each case are disturbed."""
    taken = Counter()

    def answer(function, *args, **options):
        if function is not runner.worker.measure:
            return Outcome("ok")
        case = args[0]
        taken[case] += 1
        bad = taken[case] <= answer.count
        told = Round(disturbed=WHY if bad else "", spoiled=[0, 1, 2] if bad else [])
        seconds = 0.9 if bad else 4e-3 if case.implementation == "dense" else 1e-3
        return Outcome("ok", times=Times([seconds] * 3, 50), round=told)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(isolation, "call", answer)
    monkeypatch.setattr(machine, "busy", lambda: 0.0)
    monkeypatch.setattr(retakes, "_LEAST_S", 3600.0)  # however busy the machine is
    every = set(on_the_spot.IMPLEMENTATIONS) - {"dense", "ours"}
    monkeypatch.setattr(on_the_spot, "_NEVER", every)
    answer.taken = taken
    return answer


ASKED = {"sparsity": 0.9, "batch": 4, "threads": 1}


def test_times_that_other_work_disturbed_are_taken_again_as_in_a_sweep(spoiled):
    spoiled.count, said = 3, []
    advice = advisor.advise(64, 64, **ASKED, told=said.append)
    assert {c.implementation: c.speedup.value for c in advice.candidates} == {
        "ours": pytest.approx(4.0),
        "dense": 1.0,
    }
    assert set(spoiled.taken.values()) == {3 + 3}
    assert said[-1].startswith("8 of 8 cases were disturbed by other work, and taken again (")
    assert said[-1].endswith("of 1:00:00 allowed): all have rounds that were not")
    for kept in load(Path("results/advise")):
        assert [turn.retaken for turn in kept.rounds] == [0, 0, 0, 1, 2, 3]
        assert kept.clean == [3, 4, 5]


def test_times_that_stay_disturbed_are_no_answer_and_the_takes_are_bounded(spoiled):
    spoiled.count, said = 99, []
    assert advisor.advise(64, 64, **ASKED, told=said.append) is None
    assert set(spoiled.taken.values()) == {3 + retakes._MOST}
    assert "; 8 stay so: they are marked !" in said[-1]
    arguments = ["--in", "64", "--out", "64", "--sparsity", "0.9", "--batch", "4"]
    refused = CliRunner().invoke(cli.app, ["advise", *arguments, "--threads", "1"])
    assert isinstance(refused.exception, InputError)
    assert "left alone, nor when taken again: see results/advise" in str(refused.exception)


def test_times_that_took_too_long_are_not_laid_to_other_work(spoiled, monkeypatch):
    def slow(function, *args, **options):
        if function is not runner.worker.measure:
            return Outcome("ok")
        return Outcome("timeout", "took longer than 20 s")

    monkeypatch.setattr(isolation, "call", slow)
    arguments = ["--in", "64", "--out", "64", "--sparsity", "0.9", "--batch", "4"]
    refused = CliRunner().invoke(cli.app, ["advise", *arguments, "--threads", "1"])
    assert "other work" not in str(refused.exception)
    said = r"no case could be measured: \d timeout \((dense|ours): took longer than 20 s\): see"
    assert re.search(said, str(refused.exception))


def test_what_cannot_be_measured_says_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"dense cannot be measured here: needs about .* GB"):
        advisor.advise(10**6, 10**6, sparsity=0.9, batch=1)
    with pytest.raises(InputError, match=r"no such connections: sparsity 0.999 leaves no conn"):
        advisor.advise(8, 8, sparsity=0.999, batch=1)

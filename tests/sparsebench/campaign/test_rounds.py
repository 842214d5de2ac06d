"""Rounds in passes over a sweep, at a place whose times are made up."""

import io
import signal
import time

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from sparsebench import cli
from sparsebench.analysis.points import points
from sparsebench.analysis.precision import FEWEST, imprecise
from sparsebench.campaign import run as campaign
from sparsebench.campaign.place import Place
from sparsebench.cases import sweep
from sparsebench.cases.settings import MOST_ROUNDS, Settings
from sparsebench.errors import InputError
from sparsebench.interruption import Interrupted
from sparsebench.records import Round, Store, load
from tests.sparsebench.factory import case, record

CASES = [
    case(implementation=name, sparsity=sparsity)
    for sparsity in (0.5, 0.9)
    for name in ("ours", "dense")
]


class Here(Place):
    """Every case takes a second, give or take `scatter` of its sparsity."""

    def __init__(self, scatter=None, stop_after=10**9, fails=()):
        self.scatter, self.stop_after, self.fails = scatter or {}, stop_after, fails
        self.turns, self.rng = [], np.random.default_rng(0)

    def knows(self, found):
        return True

    def differs(self, found):
        return []

    def pending(self, cases, known, retry_failed):
        return [c for c in cases if c not in known]

    def measure(self, work):
        assert work.settings.rounds == 1
        done = 0
        for each in work.cases:
            if len(self.turns) >= self.stop_after:
                break
            self.turns.append(each)
            work.store.append(self.record(each))
            done += 1
        return done

    def record(self, each):
        failed = each.implementation in self.fails
        scatter = self.scatter.get(each.sparsity, 0.0)
        seconds = [float(np.exp(self.rng.normal(0, scatter))) for _ in range(5)]
        found = record(None if failed else 1.0).model_copy(update={"case": each, "wall_s": 1.0})
        rounds = [Round(samples=5)]
        return found if failed else found.model_copy(update={"samples": seconds, "rounds": rounds})

    def _check(self, device): ...

    def _default_devices(self):
        return ["cpu"]


def measure(folder, place, *, rounds=3, precision=None, **options):
    settings = Settings(rounds=rounds, precision=precision)
    talk = Console(width=200, file=io.StringIO())
    campaign.measure(CASES, folder, settings, place=place, talk=talk, **options)
    return talk.file.getvalue()


def test_every_case_has_a_round_before_one_has_the_next(tmp_path):
    place = Here()
    said = measure(tmp_path, place)
    assert [set(place.turns[n : n + 4]) for n in (0, 4, 8)] == [set(CASES)] * 3
    found = load(tmp_path)
    assert len(found) == 4
    assert [part.samples for part in found[0].rounds] == [5, 5, 5]
    assert (len(found[0].samples), found[0].run["rounds"], found[0].wall_s) == (15, 3, 3.0)
    assert "round 3 of 3: 4 cases" in said


def test_the_first_results_stay_where_they_were(tmp_path):
    place = Here({0.5: 0.1, 0.9: 0.1})
    measure(tmp_path, place, rounds=1)
    first = {r.case: r.samples for r in load(tmp_path)}
    measure(tmp_path, place, rounds=3)
    for each in load(tmp_path):
        assert each.samples[:5] == first[each.case]
        assert len(each.samples) == 15


def test_what_was_interrupted_goes_on_with_the_round_it_was_in(tmp_path):
    measure(tmp_path, Here(stop_after=6))
    assert sorted(r.round_count for r in load(tmp_path)) == [1, 1, 2, 2]
    place = Here()
    measure(tmp_path, place)
    assert len(place.turns) == 6
    assert {r.round_count for r in load(tmp_path)} == {3}
    again = Here()
    assert "4 of 4 cases have a record" in measure(tmp_path, again)
    assert again.turns == []


def test_an_interruption_counts_the_cases_of_its_round(tmp_path, capsys):
    class Stopped(Here):
        def measure(self, work):
            done = super().measure(work)
            if done < len(work.cases):
                raise Interrupted(signal.SIGINT)
            return done

    with pytest.raises(Interrupted):
        measure(tmp_path, Stopped(stop_after=len(CASES) + 1))
    assert f"interrupted: 1 of {len(CASES)} cases were measured" in capsys.readouterr().err


def test_a_case_that_fails_is_over(tmp_path):
    place = Here(fails=("ours",))
    measure(tmp_path, place)
    assert [c.implementation for c in place.turns].count("ours") == 2
    assert {r.status for r in load(tmp_path) if r.case.implementation == "ours"} == {"error"}


def test_a_failure_in_a_later_round_is_what_counts(tmp_path):
    measure(tmp_path, Here(), rounds=1)
    measure(tmp_path, Here(fails=("ours",)), rounds=2)
    assert {r.status for r in load(tmp_path) if r.case.implementation == "ours"} == {"error"}


def test_a_precision_adds_rounds_where_intervals_are_wide(tmp_path):
    place = Here({0.5: 0.001, 0.9: 0.1})
    measure(tmp_path, place, precision=0.05)
    counts = {(r.case.implementation, r.case.sparsity): r.round_count for r in load(tmp_path)}
    assert counts["ours", 0.5] == counts["dense", 0.5] == FEWEST
    assert counts["ours", 0.9] == counts["dense", 0.9] > FEWEST  # both sides of the ratio
    assert imprecise(points(load(tmp_path)), 0.05) == []


def test_a_precision_out_of_reach_ends_and_says_so(tmp_path):
    said = measure(tmp_path, Here({0.5: 0.1, 0.9: 0.0}), precision=0.001)
    assert {r.round_count for r in load(tmp_path)} == {FEWEST, MOST_ROUNDS}
    assert f"2 cases are less precise than 0.001 after {MOST_ROUNDS} rounds" in said


def test_few_rounds_are_never_precise_enough(tmp_path):
    """Who stops at the first narrow interval stops where it is too narrow by chance."""
    measure(tmp_path, Here(), rounds=2, precision=0.5)
    assert {r.round_count for r in load(tmp_path)} == {FEWEST}


def test_records_without_boundaries_go_on_too(tmp_path):
    with Store(tmp_path) as store:
        for each in CASES:
            old = record(1.0, count=8, run={"rounds": 2})
            store.append(old.model_copy(update={"case": each, "rounds": []}))
    measure(tmp_path, Here())
    assert [part.samples for part in load(tmp_path)[0].rounds] == [4, 4, 5]


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.02", 0.02), ("2.5 %", 0.025)])
def test_the_option_is_a_share(text, share, monkeypatch, tmp_path):
    given = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(campaign, "measure", lambda c, f, settings, **_: given.append(settings))
    called = CliRunner().invoke(cli.app, ["run", "overhead", "--precision", text])
    assert called.exception is None, called.exception
    assert given[0].precision == pytest.approx(share)


@pytest.mark.parametrize("text", ["five", "0", "100%", "-5%", "1.5", "nan"])
def test_a_share_that_is_none_is_refused(text):
    called = CliRunner().invoke(cli.app, ["run", "overhead", f"--precision={text}"])
    assert isinstance(called.exception, InputError)
    assert "give a share between 0 and 1, such as 5% or 0.05" in str(called.exception)


def test_a_sweep_may_ask_for_a_precision(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'precision = 0.1\n[grid]\nimplementation = "ours"\nwidth = 8\nsparsity = 0.5\n'
        'batch = 1\nphase = "inference"\n'
    )
    assert sweep.load(str(path)).settings(0).precision == 0.1


def test_the_deadline_ends_it_between_rounds(tmp_path):
    class Slow(Here):
        def measure(self, work):
            return 0 if work.deadline < time.monotonic() else super().measure(work)

    said = measure(tmp_path, Slow(), deadline=time.monotonic() - 1)
    assert "the budget is used up: 4 of 4 cases are left" in said
    assert "round 2" not in said

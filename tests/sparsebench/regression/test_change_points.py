"""Changes that were put into series are found where they are; in others there are none."""

import numpy as np
import pytest
import scipy  # whose parts are imported where they are used: it takes seconds

from sparsebench.analysis.estimates import Estimate
from sparsebench.regression import change_points, history, results
from sparsebench.regression.results import Check, Commit, Finding


def noise(seed, count, scatter=0.005):
    return np.exp(scatter * np.random.default_rng(seed).standard_normal(count))


@pytest.mark.parametrize("factor", [1.03, 1 / 1.03])
def test_a_shift_is_found_within_five_commits(factor):
    found = 0
    for seed in range(20):
        ratios = noise(seed, 45)
        ratios[40:] *= factor
        for change in change_points.changes(ratios):
            found += abs(change.place - 40) <= 1 and change.seen <= 44
            assert change.ratio == pytest.approx(factor, rel=0.02)
    assert found >= 19


def test_nothing_is_found_where_nothing_changed():
    assert sum(len(change_points.changes(noise(seed, 100))) for seed in range(20)) <= 2


def test_a_single_outlier_is_no_change():
    found = 0
    for seed in range(10):
        ratios = noise(seed, 60)
        ratios[30] *= 1.5
        ratios[45] *= 1.2
        found += len(change_points.changes(ratios))
    assert found <= 1


def test_several_changes_are_told_apart():
    ratios = noise(1, 80, scatter=0.002)
    ratios[30:] *= 1.05
    ratios[55:] *= 1.10
    found = change_points.changes(ratios)
    assert [change.place for change in found] == pytest.approx([30, 55], abs=1)
    assert [change.ratio for change in found] == pytest.approx([1.05, 1.10], rel=0.01)


def test_few_equal_ratios_are_no_series():
    assert change_points.changes([]) == []
    assert change_points.changes([1.0] * 7 + [2.0] * 2) == []


@pytest.mark.parametrize("freedom", [7, 15, 39])
def test_the_limit_is_students(freedom):
    exact = scipy.stats.t.ppf(1 - change_points.CHANCE / 2, freedom)
    assert change_points._limit(freedom) == pytest.approx(exact, rel=0.05)


def check(day, base, ratio):
    finding = Finding(
        workload="training", measure="time", base=[1.0], head=[ratio], verdict="same",
        ratio=Estimate(ratio, ratio, ratio),
    )  # fmt: skip
    return Check(
        started=f"2026-01-{day + 1:02}", wall_s=1, base=Commit(commit=base, date=""), tolerance=0.1,
        head=Commit(commit=f"c{day}", date=""), settings={}, findings=[finding], machine={},
    )  # fmt: skip


def test_history_marks_the_commit_of_checks_over_one_base(tmp_path):
    ratios = noise(2, 25) * np.where(np.arange(25) < 18, 1.0, 1.05)
    with results.Checks(tmp_path / "one") as store:
        for day, ratio in enumerate(ratios):
            store.append(check(day, "v1", float(ratio)))
    entries = history.load(tmp_path / "one")
    (marked,) = (entry for entry in entries if entry.change is not None)
    assert marked.commit == "c18"
    assert marked.change == pytest.approx(1.05, rel=0.01)
    with results.Checks(tmp_path / "parents") as store:
        for day, ratio in enumerate(ratios):
            store.append(check(day, f"c{day - 1}", float(ratio)))
    assert not [e for e in history.load(tmp_path / "parents") if e.change is not None]

"""Intervals in closed form, against SciPy's t, and against many draws."""

import gc
import itertools
import math
import weakref

import numpy as np
import pytest
import scipy  # whose parts are imported where they are used: it takes seconds

from sparsebench.analysis import series as module
from sparsebench.analysis.estimates import Estimate, OverProblems, over_problems
from sparsebench.analysis.metrics import METRICS, behind, speedup_draws
from sparsebench.analysis.once import once
from sparsebench.analysis.points import points
from sparsebench.analysis.series import Series, draws_of, estimates, ratios, student
from sparsebench.records import Round
from tests.sparsebench.factory import record, sweep


def drawn(seed, rounds=5):
    """The medians of rounds that scatter by 5%, by their numbers."""
    return dict(enumerate(np.exp(np.random.default_rng(seed).normal(0, 0.05, rounds)).tolist()))


def ends(estimate):
    return (estimate.value, estimate.low, estimate.high)


@pytest.mark.parametrize("rounds", [*range(3, 40), 101, 1000])
def test_the_quantile_is_scipys(rounds):
    assert student(rounds) == pytest.approx(scipy.stats.t.ppf(0.975, rounds - 1), rel=1e-10)


@pytest.mark.parametrize("rounds", [3, 4, 7, 20])
def test_a_time_has_the_t_interval_of_its_logarithms(rounds):
    medians = drawn(rounds, rounds)
    logs = np.log([*medians.values()])
    low, high = scipy.stats.t.interval(0.95, rounds - 1, logs.mean(), scipy.stats.sem(logs))
    found = Series.of(medians, "a").estimate
    assert ends(found) == pytest.approx(np.exp([logs.mean(), low, high]))


@pytest.mark.parametrize("rounds", [3, 4, 7, 20])
def test_a_ratio_in_the_same_rounds_has_the_paired_t_interval(rounds):
    one, other = drawn(1, rounds), drawn(2, rounds)
    logs = [np.log([*medians.values()]) for medians in (one, other)]
    paired = scipy.stats.ttest_rel(*logs).confidence_interval(0.95)
    found = Series.of(one, "a").over(Series.of(other, "a"))
    assert found.value == pytest.approx(np.exp(logs[0].mean() - logs[1].mean()))
    assert (found.low, found.high) == pytest.approx((np.exp(paired.low), np.exp(paired.high)))


def test_many_intervals_at_once_are_those_of_each():
    """Of unequal numbers of rounds, too few for an interval, and of other rounds."""
    made = [Series.of(drawn(n, rounds), "a") for n, rounds in enumerate((3, 5, 2, 3, 1, 5, 9))]
    given = Series.of(drawn(1), "a", value=1e300)
    huge = Series.of({n: m * 1e308 for n, m in drawn(2, 3).items()}, "b")
    every = [*made, given, huge]
    for found, one in zip(estimates(every), every, strict=True):
        assert ends(found) == pytest.approx(ends(one.estimate), rel=1e-12, nan_ok=True)
    pairs = list(itertools.product(every, every))
    for found, (one, other) in zip(ratios(pairs), pairs, strict=True):
        assert ends(found) == pytest.approx(ends(one.over(other)), rel=1e-12, nan_ok=True)
    assert estimates([]) == ratios([]) == []


@pytest.fixture
def many(monkeypatch):
    """Draw so often that little error is left."""
    monkeypatch.setattr(module, "RESAMPLES", 400_000)
    module._weights.cache_clear()
    yield
    module._weights.cache_clear()


def test_draws_agree_with_both(many):
    one, other = (Series.of(drawn(seed, 4), "a") for seed in (3, 4))
    logs = draws_of([one, other], "a")
    for found, exact in zip(
        Estimate.of_logs(np.stack([logs[0], logs[0] - logs[1]])),
        (one.estimate, one.over(other)),
        strict=True,
    ):
        assert np.log(ends(found)) == pytest.approx(np.log(ends(exact)), rel=0.02)


def test_a_ratio_over_other_rounds_is_drawn():
    """Of other numbers, and of another contest: wider, and by nothing that is in closed form."""
    medians = {0: 1.0, 1: 2.0, 2: 1.3, 3: 1.7}
    part = {n: m for n, m in medians.items() if n != 1}
    own = Series.of(medians, "a")
    assert ends(own.over(own)) == (1.0, 1.0, 1.0)
    for other in (Series.of(part, "a"), Series.of(medians, "b")):
        found = own.over(other)
        assert found.known
        assert found.low < found.value < found.high
        assert ends(found) == ends(Estimate.of_logs((own.draws - other.draws)[None])[0])


def test_rounds_are_paired_by_their_numbers_in_whatever_order_they_come():
    medians = drawn(5)
    backwards = dict(reversed(medians.items()))
    assert Series.of(medians, "a") == Series.of(backwards, "a")


def test_a_given_value_stays_and_the_interval_lies_about_it():
    medians = drawn(6)
    found, middle = Series.of(medians, "a", 7.0).estimate, Series.of(medians, "a").estimate
    assert found.value == 7.0
    assert found.high / 7.0 == pytest.approx(middle.high / middle.value)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_rounds_have_no_interval(count):
    few = Series.of(drawn(7, count), "a")
    assert not few.estimate.known
    assert not few.over(few).known
    assert not few.over(Series.of(drawn(8), "a")).known


def test_times_that_are_far_apart_have_an_infinite_interval_and_no_error():
    found = Series.of({0: 1e-300, 1: 1.0, 2: 1e300}, "a").estimate
    assert (found.low, found.high) == (0.0, math.inf)


def measured(**medians):
    """The points of one problem, with these medians of rounds in seconds."""
    records = [
        record(1.0, implementation=name).model_copy(
            update={"samples": [*own.values()], "rounds": [Round(samples=1)] * len(own)}
        )
        for name, own in medians.items()
    ]
    return {point.case.implementation: point for point in points(records)}


def test_metrics_are_those_of_scipy():
    own, dense = drawn(9), {n: 3 * m for n, m in drawn(10).items()}
    ours = measured(ours=own, dense=dense)["ours"]
    logs = np.log([*dense.values()]) - np.log([*own.values()])
    interval = scipy.stats.t.interval(0.95, 4, logs.mean(), scipy.stats.sem(logs))
    speedup = METRICS["speedup"].of(ours)
    assert ends(speedup) == pytest.approx(np.exp([logs.mean(), *interval]))
    assert METRICS["speedup_over_best_dense"].of(ours) == speedup
    # One that is never the fastest leaves the least time what it was.
    assert METRICS["relative_time"].of(ours).value == 1.0
    assert speedup_draws(ours)[0] == pytest.approx(speedup.value)


def test_the_time_over_the_fastest_is_over_the_least_of_each_replica(many):
    found = measured(ours=drawn(11), peer=drawn(12), dense=drawn(13))
    logs = {name: np.array([*point.rounds.logs]) for name, point in found.items()}
    rng, n = np.random.default_rng(0), 5
    normal = rng.standard_normal((200_000, n))
    normal /= np.sqrt(rng.chisquare(n - 1, (200_000, 1)) * n)
    replicas = {name: x.mean() + normal @ (x - x.mean()) for name, x in logs.items()}
    least = np.min([*replicas.values()], axis=0)
    for name, point in found.items():
        relative = METRICS["relative_time"].of(point)
        low, high = np.quantile(replicas[name] - least, (0.025, 0.975))
        assert behind(point) == pytest.approx(relative.value)
        assert np.log(relative.low) == pytest.approx(low, abs=0.01)
        assert np.log(relative.high) == pytest.approx(high, abs=0.01)


def test_a_mean_over_problems_is_that_of_problems_drawn_with_replacement():
    rng, count = np.random.default_rng(14), 7
    logs = rng.normal(0, 1, (count, 1001))
    logs[3, 1:] = math.nan  # measured too seldom: it counts with its value
    mean = OverProblems(count)
    for row in logs:
        mean.add(row)
    known = np.where(np.isnan(logs), logs[:, :1], logs)
    chosen = np.random.default_rng(count).integers(count, size=(count, 1001))
    expected = np.exp([known[chosen[:, n], n].mean() for n in range(1, 1001)])
    assert mean.draws[1:] == pytest.approx(expected)
    assert mean.draws[0] == pytest.approx(np.exp(known[:, 0].mean()))
    assert over_problems([*np.exp(logs)]) == pytest.approx(mean.draws)


def test_what_is_asked_of_the_same_points_again_is_known_as_long_as_they_are_there():
    asked = []

    @once
    def first(points):
        asked.append(len(points))
        return points[0] if points else None

    every = points(sweep(widths=(64,), batches=(1,), sparsities=(0.5, 0.9), phases=("inference",)))
    assert [first(every), first(list(every)), first(every[:3])] == [every[0]] * 3
    assert asked == [10, 3]
    assert first([]) is first([]) is None
    gone = weakref.ref(every[0])
    del every
    gc.collect()
    assert gone() is None

"""Intervals, against those of Student and against what is known to be true."""

import math

import numpy as np
import pytest

from sparsebench.analysis.estimates import (
    RESAMPLES,
    Estimate,
    _quantiles,
    geometric_mean,
    over_problems,
)
from sparsebench.analysis.series import round_draws


def draws_of(rounds, name):
    """The draws of rounds in a row."""
    return round_draws(dict(enumerate(rounds)), name=name)


# The 97.5% quantile of Student's t, by the number of rounds (any table).
STUDENT = {3: 4.303, 4: 3.182, 5: 2.776, 10: 2.262}


@pytest.mark.parametrize("count", STUDENT)
def test_one_series_has_the_interval_of_student(count):
    rng = np.random.default_rng(count)
    logs = rng.normal(0, 0.1, count)
    expected = STUDENT[count] * logs.std(ddof=1) / np.sqrt(count)
    halves = []
    for n in range(40):  # every draw of weights has some error of its own
        found = Estimate.of(draws_of([[np.exp(x)] for x in logs], name=f"{n}"))
        assert found.value == pytest.approx(np.exp(logs.mean()))
        halves += [np.log(found.high / found.value), np.log(found.value / found.low)]
    assert np.mean(halves) == pytest.approx(expected, rel=0.05)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Rounds that differ, samples that differ within them: three, and five, of each."""
    rng = np.random.default_rng(2)
    for count in (3, 5):
        held = 0
        for trial in range(400):
            middles = np.exp(rng.normal(0, 0.1, count))
            rounds = [list(m * np.exp(rng.normal(0, 0.05, 7))) for m in middles]
            found = Estimate.of(draws_of(rounds, name=f"{trial}"))
            held += found.low <= 1 <= found.high
        assert 0.92 <= held / 400 <= 0.98


def test_many_samples_of_a_few_processes_are_not_many_processes():
    rng = np.random.default_rng(3)
    rounds = [list(m * np.exp(rng.normal(0, 0.001, 1000))) for m in (1.0, 1.1, 1.2)]
    found = Estimate.of(draws_of(rounds, name="a"))
    assert found.high / found.low > 1.2


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_processes_have_no_interval(count):
    draws = draws_of([[1.0, 1.1, 4.0]] * count, name="a")
    assert draws[0] == pytest.approx(1.1)
    assert len(draws) == 1 + RESAMPLES
    found = Estimate.of(draws)
    assert not found.known
    assert found.plain == {"value": pytest.approx(1.1), "low": None, "high": None}
    assert not found.low > 0  # nothing is decided by it
    assert not Estimate.of(draws / draws_of([[1.0]] * 3, name="a")).known


def test_the_speed_of_the_machine_in_a_round_cancels_in_a_ratio():
    """What is measured in the same rounds: each twice as slow in one as in another."""
    drift = np.array([1.0, 2.0, 1.3, 1.7])
    ours = np.array([1.00, 1.01, 0.99, 1.00])
    own, dense = ([[s] for s in drift * x] for x in (ours, 3 * ours[::-1]))
    paired = Estimate.of(draws_of(dense, name="a") / draws_of(own, name="a"))
    assert paired.value == pytest.approx(3.0)
    assert 2.9 < paired.low < paired.high < 3.1
    alone = Estimate.of(draws_of(own, name="a"))
    assert alone.high / alone.low > 2
    apart = Estimate.of(draws_of(dense, name="a") / draws_of(own, name="b"))
    assert apart.high / apart.low > 2


def test_rounds_of_unequal_number_still_share_the_first():
    drift = [1.0, 2.0, 1.3, 1.7, 1.4]
    longer, shorter = ([[s] for s in part] for part in (drift, drift[:4]))
    shared = Estimate.of(draws_of(longer, name="a") / draws_of(shorter, name="a"))
    apart = Estimate.of(draws_of(longer, name="a") / draws_of(shorter, name="b"))
    assert np.log(shared.high / shared.low) < 0.75 * np.log(apart.high / apart.low)


def test_a_round_that_is_left_out_does_not_spoil_the_pairing_of_the_others():
    drift = {0: 1.0, 1: 2.0, 2: 1.3, 3: 1.7, 4: 1.1}
    whole = {n: [factor * (1 + 0.001 * n)] for n, factor in drift.items()}
    part = {n: samples for n, samples in whole.items() if n != 1}
    paired = Estimate.of(round_draws(part, name="a") / round_draws(whole, name="a"))
    shifted = Estimate.of(draws_of(part.values(), name="a") / round_draws(whole, name="a"))
    assert np.log(paired.high / paired.low) < 0.8 * np.log(shifted.high / shifted.low)


def test_draws_of_different_names_are_independent():
    rounds = [[s] for s in np.linspace(1.0, 2.0, 9)]
    one, other = (draws_of(rounds, name=name)[1:] for name in "ab")
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.15


def test_an_interval_may_end_at_infinity():
    draws = np.concatenate([[5.0], np.full(500, -math.inf), np.full(500, math.inf)])
    assert Estimate.of(draws) == Estimate(5.0, -math.inf, math.inf)


def test_geometric_mean():
    assert geometric_mean([np.array([1.0, 2.0]), np.array([4.0, 8.0])]).tolist() == [2.0, 4.0]


def test_a_mean_over_problems_is_as_uncertain_as_problems_differ():
    """Exact ratios: the interval is that of the mean of as many problems, drawn anew."""
    logs = np.random.default_rng(5).normal(0, 0.5, 40)
    exact = [np.full(1 + RESAMPLES, math.exp(x)) for x in logs]
    found = Estimate.of(over_problems(exact))
    assert found.value == pytest.approx(math.exp(logs.mean()))
    half = np.log(found.high / found.low) / 2
    assert half == pytest.approx(1.96 * logs.std() / np.sqrt(40), rel=0.1)


def test_problems_without_an_interval_count_with_their_value():
    unknown = [draws_of([[float(n)]], name=f"{n}") for n in range(1, 9)]
    found = Estimate.of(over_problems(unknown))
    assert found.low < found.value < found.high
    assert not Estimate.of(over_problems(unknown[:2])).known


def test_many_at_once_are_what_they_are_one_by_one():
    rng = np.random.default_rng(0)
    draws = np.exp(rng.normal(size=(4, 1001)))
    draws[2, 1:] = np.nan
    for one, row in zip(Estimate.of_logs(np.log(draws)), draws, strict=True):
        alone = Estimate.of(row)
        expected = (alone.value, alone.low, alone.high)
        assert (one.value, one.low, one.high) == pytest.approx(expected, nan_ok=True)


def test_the_ends_of_an_interval_are_replicas_by_their_rank():
    """The 26th and the 975th of 1000, infinite ones too; the draws stay as they were."""
    rng = np.random.default_rng(0)
    draws = np.exp(rng.normal(size=(3, 5, 1001)))
    draws[0, :, 1:40] = math.inf
    before = draws.copy()
    low, high = _quantiles(draws[..., 1:])
    ordered = np.sort(draws[..., 1:], axis=-1)
    assert (low == ordered[..., 25]).all()
    assert (high == ordered[..., 974]).all()
    assert (draws == before).all()

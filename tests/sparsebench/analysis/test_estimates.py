"""Intervals, against a bootstrap done the slow way and against known distributions."""

import math

import numpy as np
import pytest

from sparsebench.analysis.estimates import RESAMPLES, Estimate, geometric_mean, median_draws


@pytest.mark.parametrize("count", [1, 2, 5, 10, 101])
def test_draws_have_the_distribution_of_medians_of_resamples(count):
    rng = np.random.default_rng(1)
    samples = rng.lognormal(0.0, 0.3, count)
    resampled = np.median(rng.choice(samples, (20000, count)), axis=1)
    draws = np.concatenate([median_draws(samples, name=f"{n}")[1:] for n in range(20)])
    levels = [0.025, 0.25, 0.5, 0.75, 0.975]
    # As shares of resamples below: a quantile may jump from sample to sample, its share cannot.
    for quantile in np.quantile(resampled, levels, method="inverted_cdf"):
        share = (resampled <= quantile * (1 + 1e-12)).mean()
        assert (draws <= quantile * (1 + 1e-12)).mean() == pytest.approx(share, abs=0.02)


def test_the_first_draw_is_the_median_and_the_order_of_samples_does_not_matter():
    draws = median_draws([3.0, 1.0, 2.0, 10.0], name="a")
    assert draws[0] == 2.5
    assert len(draws) == 1 + RESAMPLES
    assert np.array_equal(draws, median_draws([10.0, 2.0, 1.0, 3.0], name="a"))


def test_draws_of_different_names_are_independent():
    samples = np.linspace(1.0, 2.0, 51)
    one, other = median_draws(samples, name="a")[1:], median_draws(samples, name="b")[1:]
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.15


def test_the_interval_of_a_median_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    trials = [Estimate.of(median_draws(rng.exponential(1.0, 25), name=f"{n}")) for n in range(400)]
    covered = np.mean([t.low <= math.log(2.0) <= t.high for t in trials])
    assert 0.91 <= covered <= 0.99


def test_an_interval_may_end_at_infinity():
    draws = np.concatenate([[5.0], np.full(500, -math.inf), np.full(500, math.inf)])
    assert Estimate.of(draws) == Estimate(5.0, -math.inf, math.inf)


def test_geometric_mean():
    assert geometric_mean([np.array([1.0, 2.0]), np.array([4.0, 8.0])]).tolist() == [2.0, 4.0]

"""Paired comparisons against tables of Student's t, and a case worked by hand."""

import math

import pytest

from sparsebench.training.paired import beyond, paired


@pytest.mark.parametrize(
    ("degrees", "t"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (30, 2.0423)],
)
def test_the_quantiles_of_the_tables_are_those_of_5_percent(degrees, t):
    assert beyond(t, degrees) == pytest.approx(0.05, abs=2e-5)
    assert beyond(-t, degrees) == beyond(t, degrees)
    assert beyond(0.0, degrees) == pytest.approx(1.0)


def test_tails_are_those_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    for degrees in range(1, 12):
        for t in (0.1, 0.7, 1.5, 4.0, 20.0):
            assert beyond(t, degrees) == pytest.approx(2 * stats.t.sf(t, degrees), abs=1e-12)


def test_seeds_that_both_have_are_compared_one_by_one():
    found = paired({0: 98.0, 1: 97.0, 2: 99.0, 7: 50.0}, {2: 98.7, 0: 97.9, 1: 96.9, 5: 1.0})
    differences = [0.1, 0.1, 0.3]
    mean = sum(differences) / 3
    deviation = math.sqrt(sum((d - mean) ** 2 for d in differences) / 2)
    assert found.runs == 3
    assert found.mean == pytest.approx(mean)
    assert found.deviation == pytest.approx(deviation)
    t = mean / (deviation / math.sqrt(3))
    assert found.p == pytest.approx(1 - t / math.sqrt(t**2 + 2))  # of two degrees of freedom


def test_what_cannot_be_told():
    assert paired({0: 1.0}, {0: 2.0}) is None
    assert paired({0: 1.0, 1: 2.0}, {2: 1.0, 3: 2.0}) is None
    same = paired({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0})
    assert (same.mean, same.p) == (0.0, 1.0)
    assert paired({0: 2.0, 1: 3.0}, {0: 1.0, 1: 2.0}).p == 0.0

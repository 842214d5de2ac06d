"""Crossovers of curves whose crossing is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsebench.analysis.crossover import ALWAYS, NEVER, crossover
from sparsebench.analysis.points import points
from tests.sparsebench.factory import SPARSITIES, record


def find(speedup, *, noise=0.0, sparsities=SPARSITIES):
    """The crossover of `ours` where it is `speedup(sparsity)` times faster than dense."""
    records = []
    for sparsity in sparsities:
        records.append(record(1.0, noise=noise, implementation="dense", sparsity=sparsity))
        records.append(record(1.0 / speedup(sparsity), noise=noise, sparsity=sparsity))
    return crossover([p for p in points(records) if p.case.implementation == "ours"])


@given(st.floats(0.51, 0.989), st.floats(0.2, 2.0))
def test_a_power_of_the_density_is_found_exactly(sparsity, exponent):
    found = find(lambda s: ((1 - sparsity) / (1 - s)) ** exponent)
    assert found.sparsity.value == pytest.approx(sparsity, abs=1e-9)


def test_always_and_never_are_answers():
    assert find(lambda s: 2.0).sparsity.value == ALWAYS
    assert find(lambda s: 0.5).sparsity.value == NEVER
    assert find(lambda s: 2.0, sparsities=(0.9,)).sparsity.high == ALWAYS
    assert find(lambda s: 1.0, sparsities=(0.9,)).sparsity.low == NEVER
    found = find(lambda s: 2.0, sparsities=(0.8, 0.9))
    assert (found.lowest, found.highest) == (0.8, 0.9)


def test_the_last_rise_counts():
    speedups = dict(zip(SPARSITIES, (2.0, 0.5, 2.0, 0.5, 2.0, 4.0), strict=True))
    found = find(speedups.__getitem__)
    # Halfway in log density between 95% and 98%.
    assert found.sparsity.value == pytest.approx(1 - np.sqrt(0.05 * 0.02))
    falling = dict(zip(SPARSITIES, (4.0, 2.0, 2.0, 2.0, 2.0, 0.5), strict=True))
    assert find(falling.__getitem__).sparsity.value == NEVER


def test_the_interval_grows_with_the_noise_and_holds_the_truth():
    quiet, loud = (find(lambda s: 0.15 / (1 - s), noise=noise).sparsity for noise in (0.02, 0.3))
    for found in (quiet, loud):
        assert found.low < 0.85 < found.high
    assert loud.high - loud.low > 3 * (quiet.high - quiet.low)


def test_an_end_of_the_interval_may_be_beyond_what_was_measured():
    found = find(lambda s: 1.02 * 0.01 / (1 - s), noise=0.2).sparsity
    assert 0.98 < found.value < 0.99
    assert found.high == NEVER
    found = find(lambda s: 0.98 * 0.5 / (1 - s), noise=0.2).sparsity
    assert found.low == ALWAYS


def test_an_interval_over_the_whole_range_tells_nothing():
    found = find(lambda s: 1.0, noise=0.15, sparsities=(0.5, 0.99))
    assert not found.told
    assert find(lambda s: 0.15 / (1 - s), noise=0.02).told


def test_too_few_processes_have_a_crossover_without_an_interval():
    records = [
        record(seconds, implementation=name, sparsity=sparsity, count=2)
        for sparsity, ours in ((0.5, 2.0), (0.9, 0.5))
        for name, seconds in (("dense", 1.0), ("ours", ours))
    ]
    found = crossover([p for p in points(records) if p.case.implementation == "ours"])
    assert 0.5 < found.sparsity.value < 0.9
    assert found.told
    assert not found.sparsity.known


def test_failures_leave_a_gap_and_no_dense_layer_no_answer():
    records = [
        record(seconds, implementation=name, sparsity=sparsity)
        for sparsity, ours in ((0.5, 2.0), (0.8, None), (0.95, 0.2))
        for name, seconds in (("dense", 1.0), ("ours", ours))
    ]
    ours = [p for p in points(records) if p.case.implementation == "ours"]
    # log speed-up from -log 2 to log 5 over log density from log 0.5 to log 0.05
    expected = 1 - 0.5 * 0.1 ** (np.log(2) / np.log(10))
    assert crossover(ours).sparsity.value == pytest.approx(expected)
    assert crossover(points([record(1.0)])) is None

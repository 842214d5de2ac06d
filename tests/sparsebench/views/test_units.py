"""Numbers as text."""

import math

import pytest

from sparsebench.analysis.crossover import ALWAYS, NEVER, Crossover
from sparsebench.analysis.estimates import Estimate
from sparsebench.views import units


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (583e-6, "s", "583 µs"),
        (1.85e-3, "s", "1.85 ms"),
        (999.6e-6, "s", "1.00 ms"),
        (12.0, "s", "12.0 s"),
        (3.2e9, "B", "3.20 GB"),
        (0, "B", "0 B"),
        (4e-12, "s", "0.00400 ns"),
        (2e15, "FLOP/s", "2000 TFLOP/s"),
    ],
)
def test_quantity(value, unit, text):
    assert units.quantity(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.001, "<0.01×"),
        (0.0449, "0.04×"),
        (0.996, "1.0×"),
        (9.94, "9.9×"),
        (9.96, "10×"),
        (151.7, "152×"),
    ],
)
def test_ratio(value, text):
    assert units.ratio(value) == text


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((0.842, 0.823, 0.861), "84% (82–86%)"),
        ((0.984, 0.981, 0.987), "98.4% (98.1–98.7%)"),
        ((0.842, 0.842, 0.842), "84%"),
        ((ALWAYS, ALWAYS, ALWAYS), "always (≥ 50%)"),
        ((NEVER, NEVER, NEVER), "never (≤ 99%)"),
        ((ALWAYS, ALWAYS, 0.52), "always (< 50% to 52%)"),
        ((NEVER, 0.984, NEVER), "never (98.4% to > 99%)"),
        ((0.9, ALWAYS, NEVER), "can't tell (50–99%)"),
        ((0.9, math.nan, math.nan), "90%°"),
        ((NEVER, math.nan, math.nan), "never°"),
    ],
)
def test_crossing(ends, text):
    assert units.crossing(Crossover(Estimate(*ends), 0.5, 0.99)) == text


def test_interval_and_percent():
    assert units.interval(Estimate(4.1, 3.9, 4.3)) == "4.1× (3.9–4.3)"
    assert units.interval(Estimate(4.1, 4.09, 4.11)) == "4.1×"
    assert units.interval(Estimate.exact(4.1)) == "4.1×"
    assert [units.percent(s) for s in (0.5, 0.999, 0.0)] == ["50%", "99.9%", "0%"]
    assert [units.sparsity(s) for s in (-math.inf, 0.873, math.inf)] == ["always", "87%", "never"]

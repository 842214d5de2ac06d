"""The band of an interval: where it is, and where there is none."""

import math

import pytest
from matplotlib.figure import Figure

from sparsebench.analysis.estimates import Estimate
from sparsebench.views.plots.bands import band

KNOWN = [Estimate(2.0, 1.0, 3.0), Estimate(4.0, 3.5, 5.0), Estimate(1.0, 0.5, 1.5)]
UNKNOWN = Estimate(2.0, math.nan, math.nan)


def drawn(estimates):
    axes = Figure().subplots()
    band(axes, range(len(estimates)), estimates, "#123456")
    return axes, [shape.get_xy()[:-1].tolist() for shape in axes.patches]


def test_it_goes_along_the_lower_ends_and_back_along_the_upper():
    axes, (outline,) = drawn(KNOWN)
    assert outline == [[0, 1], [1, 3.5], [2, 0.5], [2, 1.5], [1, 5], [0, 3]]
    low, high = axes.get_ylim()
    assert low < 0.5 < 5 < high  # the limits make room for it
    assert axes.patches[0].get_facecolor() == pytest.approx(
        (0x12 / 255, 0x34 / 255, 0x56 / 255, 0.18)
    )


def test_it_is_interrupted_where_an_interval_is_not_known():
    _, outlines = drawn([KNOWN[0], KNOWN[1], UNKNOWN, KNOWN[2]])
    assert outlines == [[[0, 1], [1, 3.5], [1, 5], [0, 3]], [[3, 0.5], [3, 1.5]]]
    assert drawn([UNKNOWN])[1] == []

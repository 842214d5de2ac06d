"""What is worked out together, against what each function finds when it is asked alone."""

import pytest

from sparsebench.analysis import layers, together
from sparsebench.analysis.crossover import crossover
from sparsebench.analysis.grouping import group
from sparsebench.analysis.league import league
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.points import points
from tests.sparsebench.factory import MACHINE, record, sweep

SWEEP = {"widths": (64, 128), "sparsities": (0.5, 0.9), "phases": ("inference", "train_step")}


@pytest.fixture
def records():
    """Two machines, one of which has failures, too few rounds, and older software."""
    other = MACHINE | {"id": "1b2c", "software": {"torch": "2.13"}}
    slow = [
        record(None, status="oom", width=64, batch=1, machine=other),
        record(2.0, width=64, batch=1, implementation="dense", machine=other),
        record(1.0, width=64, batch=1, implementation="peer", machine=other, count=2),
        record(3.0, width=64, batch=1, machine=MACHINE | {"software": {"torch": "2.13"}}),
    ]
    return sweep(**SWEEP) + slow


def test_leagues_and_crossovers_are_those_that_each_function_finds(records):
    every, alone, asked = points(records), points(records), []
    layers.work_out(every, asked.append)
    assert asked == every
    for names in (("machine",), ("machine", "phase")):
        for key, members in group(every, *names).items():
            assert (league.__wrapped__, *members) in members[0].kept
            expected = league.__wrapped__(group(alone, *names)[key])
            assert repr(league(members)) == repr(expected)  # what is not known equals nothing
    curve = ("machine", "phase", "batch", "size", "implementation")
    for key, members in group(every, *curve).items():
        assert (crossover.__wrapped__, *members) in members[0].kept or key[-1] == "dense"
        expected = crossover.__wrapped__(group(alone, *curve)[key])
        assert repr(crossover(members)) == repr(expected)


def test_times_and_ratios_of_many_points_are_those_of_each(records):
    every, alone = points(records), points(records)
    together.work_out(every)
    for point, one in zip(every, alone, strict=True):
        assert ("seconds" in vars(point)) == point.ok
        for name in ("time", "speedup", "speedup_over_best_dense", "relative_time"):
            found, expected = METRICS[name].of(point), METRICS[name].of(one)
            assert (found is None) == (expected is None)
            if found is not None:
                ends = (found.value, found.low, found.high)
                wanted = (expected.value, expected.low, expected.high)
                assert ends == pytest.approx(wanted, rel=1e-12, nan_ok=True)

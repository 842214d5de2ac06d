"""What every sweep of the project asks for has tables and pictures, whatever its cases are."""

import pytest

from sparsebench.analysis.points import points
from sparsebench.cases import sweep
from sparsebench.records import Memory, Record, Round
from sparsebench.views import plots, tables

MACHINE = {"id": "0a1b", "cpu": {"model": "Anvil 9000"}, "gpu": {"name": "Anvil"}}
PROBED = MACHINE | {"roofline": {"matmul_gflops": 100, "stream_gb_s": 10}}
KIND = ("implementation", "operation", "phase", "topology", "device", "gradients", "cache")


# Of files that may not be here.
NAMES = sorted({*sweep.names()} - {"dlmc"})


def of_each_kind(cases):
    """Return the smallest and the largest layers of each kind of case: a few of hundreds."""
    ordered, kept = sorted(cases, key=lambda c: (c.weights, c.batch, c.sparsity)), {}
    for case in ordered:
        kept.setdefault(tuple(getattr(case, name) for name in KIND), []).append(case)
    return [c for same in kept.values() for c in dict.fromkeys([same[0], same[-1]])]


def measured(case):
    return Record(
        case=case,
        status="ok",
        samples=[1e-3, 1.1e-3, 1.2e-3],
        rounds=[Round(samples=1)] * 3,
        calls_per_sample=1,
        machine=PROBED,
        memory=Memory(held=1000, inference_peak=100, training_peak=200),
    )


@pytest.mark.parametrize("name", NAMES)
def test_its_records_are_shown(name):
    cases = sweep.load(name).cases(["cpu", "cuda"], [2])
    found = points([measured(case) for case in of_each_kind(cases)])
    titles = {table.name for table in tables.tables(found)}
    assert "measurements" in titles
    assert list(plots.figures(found))

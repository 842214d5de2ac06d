"""Rows of very unequal lengths: the invariants of the harness's own topologies."""

import pytest
import torch

from sparsebench.analysis.points import points
from sparsebench.cases.topologies import uneven
from sparsebench.views.tables.topologies import topologies
from tests.sparsebench.factory import record

MAKERS = {"power_law": uneven.power_law, "full_rows": uneven.full_rows}


def lengths(connectivity):
    return connectivity.row_ptr.diff().long()


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9, 0.99])
def test_as_many_connections_as_asked_for(name, sparsity):
    made = MAKERS[name]((40, 70), sparsity, generator=torch.Generator().manual_seed(0))
    assert made.shape == (40, 70)
    assert made.nnz == round((1 - sparsity) * 40 * 70)
    assert lengths(made).max() <= 70


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_seed_gives_the_same_connections(name):
    one, same, other = (
        MAKERS[name]((40, 70), 0.9, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(one.row_ptr, same.row_ptr)
    assert torch.equal(one.col, same.col)
    assert not torch.equal(one.row_ptr, other.row_ptr)


def test_lengths_fall_as_the_power_of_their_rank():
    made = uneven.power_law((1000, 5000), 0.99)
    falling = lengths(made).sort(descending=True).values.double()
    rank = torch.arange(1, 1001, dtype=torch.float64)
    slope = torch.log(falling[9] / falling[299]) / torch.log(rank[299] / rank[9])
    assert slope.item() == pytest.approx(uneven.EXPONENT, abs=0.03)


def test_full_rows_among_empty_ones():
    made = uneven.full_rows((64, 1000), 1 - 2.5 / 64)
    assert sorted(lengths(made).tolist()) == [0] * 61 + [500, 1000, 1000]


def test_the_table_sets_them_beside_random_connections():
    records = [
        record(time, implementation="ours", topology=topology)
        for topology, time in (("random", 2e-3), ("power_law", 3e-3), ("full_rows", 2e-3))
    ]
    text = topologies(points(records)).text
    assert text["power_law"].str.startswith("1.5×").all()
    assert text["full_rows"].str.startswith("1.0×").all()
    assert topologies(points(records[:1])).text.empty

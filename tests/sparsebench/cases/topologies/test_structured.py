"""Topologies with a structure: what a case gets, and what is no such case."""

from dataclasses import replace

import pytest
import torch

from sparsebench.cases import problem, sweep, topologies
from sparsebench.cases.topologies import TOPOLOGIES, Undrawable
from sparsebench.cases.topologies.structured import STRUCTURED
from sparselayers import structures
from tests.sparsebench.factory import case

SOME = case(width=64, sparsity=0.75, batch=2, phase="inference")


@pytest.mark.parametrize("name", STRUCTURED)
def test_every_structure_is_drawn_from_the_seed_of_the_case(name):
    sparsity = 0.5 if name == "2:4" else 0.75
    asked = replace(SOME, topology=name, sparsity=sparsity, seed=4)
    made = problem.make(asked).connectivity
    structure = structures.named(STRUCTURED[name])
    structure.check(made)
    assert made.nnz == asked.nnz
    drawn = structure.draw((64, 64), sparsity, generator=torch.Generator().manual_seed(4))
    assert made.equals(drawn)
    assert TOPOLOGIES[name].description.startswith("Connect ")


@pytest.mark.parametrize(
    ("name", "sparsity", "message"),
    [
        ("2:4", 0.9, r"topology 2:4: 2:4 has a sparsity of 0\.5"),
        ("1:4", 0.8, r"nearest sparsity of a layer of shape \(64, 64\) is 0\.75, got 0\.8"),
        ("blocks-32x32", 0.6, r"is 0\.5, got 0\.6"),
        ("blocks-32x32", 0.9, "leaves no block of 32 × 32"),
    ],
)
def test_what_a_structure_cannot_be_is_no_case(name, sparsity, message):
    with pytest.raises(Undrawable, match=message):
        topologies.draw(replace(SOME, topology=name, sparsity=sparsity), torch.Generator())


def test_the_shipped_sweep_asks_for_what_can_be_drawn():
    cases = sweep.load("structures").cases(["cpu"], [1])
    asked = {(c.topology, c.out_features, c.columns, c.sparsity) for c in cases}
    assert {name for name, *_ in asked} == {"random", *STRUCTURED}
    assert {c.operation for c in cases} == {"linear", "conv2d"}
    for name, *shape, sparsity in asked - {a for a in asked if a[0] == "random"}:
        nearest = structures.named(STRUCTURED[name]).nearest(tuple(shape), sparsity)
        assert (1 - nearest) / (1 - sparsity) == pytest.approx(1, abs=0.025)

"""A case's key names it for ever; its problem is what rivals share."""

from dataclasses import replace

from sparsebench.case import Case

CASE = Case(
    implementation="dense",
    in_features=30,
    out_features=20,
    sparsity=0.9,
    batch=4,
    phase="inference",
    threads=2,
)


def test_the_key_is_pinned():
    assert CASE.key == (
        "implementation=dense operation=linear in_features=30 out_features=20 sparsity=0.9 "
        "topology=random batch=4 device=cpu dtype=float32 phase=inference threads=2 seed=0"
    )


def test_rivals_share_the_problem_and_nothing_else_does():
    assert replace(CASE, implementation="ours").problem == CASE.problem
    assert replace(CASE, batch=5).problem != CASE.problem
    assert replace(CASE, phase="train_step").problem != CASE.problem


def test_connections_are_counted_as_the_topology_draws_them():
    assert CASE.nnz == 60

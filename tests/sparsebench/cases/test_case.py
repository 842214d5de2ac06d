"""A case's key names it for ever; its problem is what rivals share."""

from dataclasses import fields, replace

import pytest
import torch
from torch import nn

from sparsebench.cases.case import USUAL, Case

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
    assert replace(CASE, threads=CASE.threads + 1).problem != CASE.problem


def test_numbers_of_threads_are_measured_in_turns():
    assert replace(CASE, implementation="ours", threads=CASE.threads + 1).contest == CASE.contest
    assert replace(CASE, phase="train_step").contest != CASE.contest


def test_connections_are_counted_as_the_topology_draws_them():
    assert CASE.nnz == 60


CONV = replace(
    CASE, operation="conv2d", in_features=6, out_features=8, kernel=3, stride=2, padding=1,
    groups=2, image=7, sparsity=0.5,
)  # fmt: skip


def test_the_key_of_a_convolution_is_pinned():
    assert CONV.key == (
        "implementation=dense operation=conv2d in_features=6 out_features=8 sparsity=0.5 "
        "topology=random batch=4 device=cpu dtype=float32 phase=inference threads=2 seed=0 "
        "kernel=3 stride=2 padding=1 groups=2 image=7"
    )


@pytest.mark.parametrize(
    "changes", [{}, {"input_sparsity": 0.5}, {"gradients": "kept", "phase": "train_step"}]
)
@pytest.mark.parametrize("of", [CASE, CONV])
def test_a_problem_is_every_field_but_the_implementation_and_what_is_as_usual(of, changes):
    if "input_sparsity" in changes and of is CONV:
        changes = {"cache": "cold"}
    of = replace(of, **changes)
    told = {f.name: getattr(of, f.name) for f in fields(of) if f.compare}
    del told["implementation"]
    for name, usual in USUAL.items():
        if told[name] == usual:
            del told[name]
    assert of.problem == tuple(told.values())
    assert of.contest == tuple((told | {"threads": 0}).values())


def test_a_convolution_is_counted_as_nn_conv2d_is():
    conv = nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2)
    x = torch.zeros(1, 6, 7, 7)
    assert CONV.weights == conv.weight.numel() == 2 * CONV.nnz
    assert (CONV.inputs, CONV.outputs) == (x.numel(), conv(x).numel())
    assert CONV.windows * CONV.out_features == CONV.outputs


def test_a_linear_layer_is_a_convolution_of_one_pixel():
    assert (CASE.weights, CASE.windows, CASE.inputs, CASE.outputs) == (600, 1, 30, 20)


def test_sizes_in_short():
    assert CASE.size == "30→20"
    assert replace(CASE, out_features=30).size == "30"
    assert CONV.size == "6→8 3×3/2 7² 2 groups"
    assert replace(CONV, stride=1, groups=1, padding=0).size == "6→8 3×3 7² pad 0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": 2, "padding": 0}, "kernel = 3 does not fit into image = 2 with padding = 0"),
        ({"groups": 4}, "in_features = 6 is not divisible by groups = 4"),
    ],
)
def test_a_window_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(CONV, **changes)


PRODUCT = replace(CASE, operation="product")
FILE = replace(
    CASE, topology="file:dlmc/rn50/final_dense.smtx@d2cb4af57fa0", path="/mnt/final.smtx"
)


def test_the_keys_of_products_and_of_files_are_pinned():
    for case, operation, topology in (
        (PRODUCT, "product", "random"),
        (FILE, "linear", "file:dlmc/rn50/final_dense.smtx@d2cb4af57fa0"),
    ):
        assert case.key == (
            f"implementation=dense operation={operation} in_features=30 out_features=20 "
            f"sparsity=0.9 topology={topology} batch=4 device=cpu dtype=float32 phase=inference "
            "threads=2 seed=0"
        )


def test_where_a_file_is_is_no_part_of_the_case():
    elsewhere = replace(FILE, path="/home/somebody/final.smtx")
    assert elsewhere == FILE
    assert hash(elsewhere) == hash(FILE)
    assert elsewhere.contest == FILE.contest
    assert "path" not in FILE.described


def test_a_product_has_no_backward_pass():
    with pytest.raises(ValueError, match="phase = train_step: a product is measured in inference"):
        replace(PRODUCT, phase="train_step")


@pytest.mark.parametrize(("name", "other"), [("gradients", "kept"), ("cache", "cold")])
def test_what_is_as_usual_is_no_part_of_the_key(name, other):
    """Records from before these fields keep their keys, and their intervals."""
    trained = replace(CASE, phase="train_step")
    told = replace(trained, **{name: other})
    assert name not in trained.described
    assert told.key == f"{trained.key} {name}={other}"
    assert told.problem != trained.problem
    assert trained.contest == (
        "linear", 30, 20, 0.9, "random", 4, "cpu", "float32", "train_step", 0, 0, 1, 1, 0, 1, 1,
    )  # fmt: skip


def test_inference_has_no_gradients_to_keep():
    with pytest.raises(ValueError, match="gradients = kept: inference has none"):
        replace(CASE, gradients="kept")
